"""Server-sent events as they come, in whatever pieces (WHATWG HTML, 9.2.6): the data of each event."""

from __future__ import annotations

MAX_EVENT = 1024 * 1024  # bytes of one event; with 8 choices and 20 log probabilities still far above any
BOM = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """An event without an end in sight."""


class EventReader:
    """Gives the data of every event that is complete. Lines may end with LF, CR or both; comments are skipped."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that these bytes complete. Raises EventTooLarge for one that is too large."""
        if not (self._line or self._data or self._after_cr or self._first):  # between two events
            whole = _whole_events(chunk)
            if whole is not None:
                return whole
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[bytes] = []
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._grow(line)
            self._end_line(bytes(self._line), events)
            self._line.clear()
        self._grow(rest)
        return events

    def finish(self) -> list[bytes]:
        """What stood at the end without the empty line that should follow it."""
        events: list[bytes] = []
        self._end_line(bytes(self._line), events)
        self._end_line(b"", events)
        return events

    def _grow(self, piece: bytes) -> None:
        self._line += piece
        if len(self._line) + self._size > MAX_EVENT:
            raise EventTooLarge(f"an event is larger than {MAX_EVENT:,} bytes")

    def _end_line(self, line: bytes, events: list[bytes]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(BOM)
        if line.startswith(b"data:"):
            data = line[5:].removeprefix(b" ")
            self._data.append(data)
            self._size += len(data) + 1  # empty ones too: each is an object
        elif not line and self._data:
            events.append(b"\n".join(self._data))
            self._data, self._size = [], 0


def _whole_events(chunk: bytes) -> list[bytes] | None:
    """Events of one line each, as nearly all come: whole, with nothing else beside them. None: anything else."""
    if len(chunk) > MAX_EVENT or not (chunk.startswith(b"data: ") and chunk.endswith(b"\n\n")) or b"\r" in chunk:
        return None
    events = chunk[6:-2].split(b"\n\ndata: ")
    return events if chunk.count(b"\n") == 2 * len(events) else None
