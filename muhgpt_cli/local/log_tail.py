"""The end of a service's log, in a form that fits a terminal."""

from __future__ import annotations

import json
from pathlib import Path

TAIL_BYTES = 16 * 1024
LINES = 12
ERROR = "error: "  # how a process says what it cannot start without (servicekit/process.py)
SHOWN_APART = ("level", "event", "time", "service")


def last_words(path: Path, since: int) -> list[str]:
    """What a service said last, from byte `since` on: its own error lines if it wrote any, else the last log lines."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(since, size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    return (errors or [_plain(line) for line in lines if line.strip()])[-LINES:]


def _plain(line: str) -> str:
    """A JSON event as `level event field=value…`; anything else as it is."""
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if not isinstance(event, dict) or "event" not in event:
        return line
    fields = " ".join(f"{name}={value}" for name, value in event.items() if name not in SHOWN_APART)
    return f"{event.get('level', '')} {event['event']} {fields}".strip()
