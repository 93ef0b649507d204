"""Where log lines go. A line that cannot be written harms nothing: it is dropped, counted, and reported later."""

from __future__ import annotations

import atexit
import fcntl
import os
import select
import socket
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

MAX_WAITING_BYTES = 1024 * 1024  # lines that wait for a reader that is slow
PIPE_BYTES = 4096  # a pipe that poll() calls writable takes as much without blocking
LOOK_AGAIN = 1.0  # seconds between two looks at an output that takes nothing
EXIT_PATIENCE = 0.5  # seconds that a process which ends leaves to lines that wait

WriteSome = Callable[[bytes], int]  # writes what it can and returns how much; raises OSError, BlockingIOError


class LogOutput:
    """Takes whole lines from any thread; neither raises nor waits.

    A full disk, a reader that has gone and a descriptor that cannot be written cost the line. A reader that merely
    stands still (a stopped terminal, a stalled pipe) is written to by a thread of its own meanwhile, from at most
    MAX_WAITING_BYTES; what comes beyond that is dropped. When lines are written again, `notice` makes one that says
    how many are missing.
    """

    def __init__(self, write_some: WriteSome, descriptor: int | None = None) -> None:
        """`descriptor` is what to wait on while `write_some` raises BlockingIOError."""
        self.notice: Callable[[int], bytes] | None = None
        self.on_dropped: Callable[[int], None] = lambda lines: None
        self.dropped = 0  # since the process began
        self._write_some = write_some
        self._descriptor = descriptor
        self._lock = threading.RLock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unreported = 0
        self._torn = False  # the last line was written in part: the next one begins on a line of its own
        self._drainer: threading.Thread | None = None
        atexit.register(self.close)

    def write(self, line: bytes) -> int:
        """Takes a line with its end."""
        with self._lock:
            if self._waiting:
                self._queue(line)
            elif self._put(b"\n" + line if self._torn else line):
                self._report()
        return len(line)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Leaves a moment to the lines that wait."""
        drainer = self._drainer
        if drainer is not None:
            drainer.join(EXIT_PATIENCE)

    def _report(self) -> None:
        """Says how many lines are missing, where that is news."""
        if self._unreported and self.notice is not None:
            missing, self._unreported = self._unreported, 0
            if not self._put(self.notice(missing)):
                self._unreported += missing

    def _put(self, line: bytes) -> bool:
        """Whether the whole line was written."""
        rest = line
        while rest:
            try:
                rest = rest[self._write_some(rest) :]
            except BlockingIOError:
                self._queue(rest)
                return False
            except Exception:  # noqa: BLE001  whatever an output raises, nobody who logs is to blame
                self._torn = self._torn or len(rest) < len(line)
                self._drop(1)
                return False
        self._torn = False
        return True

    def _queue(self, line: bytes) -> None:
        if self._waiting_bytes + len(line) > MAX_WAITING_BYTES:
            self._drop(1)
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self._drainer is None:
            self._drainer = threading.Thread(target=self._drain, name="log output", daemon=True)
            with suppress(RuntimeError):  # no thread can be started: the next line tries again
                self._drainer.start()
                return
            self._drainer = None

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._unreported += lines
        self.on_dropped(lines)

    def _drain(self) -> None:
        """Writes what waits as the reader takes it, in order, and ends when nothing waits."""
        while True:
            self._wait()
            with self._lock:
                waiting, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
                while waiting and not self._waiting:
                    self._put(waiting.popleft())
                if not self._waiting:
                    self._report()
                if not self._waiting:
                    self._drainer = None
                    return
                self._waiting.extend(waiting)
                self._waiting_bytes += sum(map(len, waiting))

    def _wait(self) -> None:
        poll = select.poll()
        if self._descriptor is not None:
            poll.register(self._descriptor, select.POLLOUT)
        poll.poll(LOOK_AGAIN * 1000)


def standard_error() -> LogOutput:
    """An output to descriptor 2, whatever is behind it; one for the process."""
    global _standard_error
    if _standard_error is None:
        _standard_error = on_descriptor(2)
    return _standard_error


def on_descriptor(descriptor: int) -> LogOutput:
    """An output to a descriptor, which others may share: its own flags stay as they are."""
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    except OSError:
        kind = stat.S_IFREG  # closed: each write says so
    if kind == stat.S_IFSOCK:
        return _on_socket(descriptor)
    if kind not in (stat.S_IFIFO, stat.S_IFCHR):
        return LogOutput(lambda line: os.write(descriptor, line))
    reopened = _reopened(descriptor)
    if reopened is not None:
        return LogOutput(lambda line: os.write(reopened, line), reopened)
    return LogOutput(lambda line: _write_if_ready(descriptor, line), descriptor)


def on_stream(stream: BinaryIO) -> LogOutput:
    """An output to a Python stream, which takes each line whole."""

    def write(line: bytes) -> int:
        stream.write(line)
        stream.flush()
        return len(line)

    return LogOutput(write)


def _on_socket(descriptor: int) -> LogOutput:
    connection = socket.socket(fileno=os.dup(descriptor))
    return LogOutput(lambda line: connection.send(line, socket.MSG_DONTWAIT), connection.fileno())


def _reopened(descriptor: int) -> int | None:
    """The same pipe or terminal as a description of our own, which may be non-blocking: O_NONBLOCK belongs to the
    description, and a shell's own would change with it. None where the system does not offer that."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            return None
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return None


def _write_if_ready(descriptor: int, line: bytes) -> int:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(descriptor, line[:PIPE_BYTES])


_standard_error: LogOutput | None = None
