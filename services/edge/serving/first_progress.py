"""Has quota hear of a stream's first tokens a moment after they came, with one timer for all streams.

A hold slides when half of its window is used. Without this, all that was delivered before would be free should this
process die.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from servicekit.clock import Clock

REPORT_AFTER = 0.1  # seconds from a stream's first token


class Reporting(Protocol):
    """A stream whose first token has come."""

    def report_first(self) -> None:
        """Reports what was written, unless something was reported meanwhile."""
        ...


class FirstProgress:
    """All wait equally long, so they are due in the order in which they came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: deque[tuple[float, Reporting]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, stream: Reporting) -> None:
        """This stream's first token goes out now."""
        self._due.append((self._clock.monotonic() + REPORT_AFTER, stream))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT_AFTER, self._look)

    def _look(self) -> None:
        now = self._clock.monotonic()
        while self._due and self._due[0][0] <= now:
            self._due.popleft()[1].report_first()
        self._timer = None
        if self._due:
            self._timer = asyncio.get_running_loop().call_later(self._due[0][0] - now, self._look)
