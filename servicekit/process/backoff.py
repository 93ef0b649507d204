"""How long to wait before a process that died is started again."""

from __future__ import annotations

MAX_DOUBLINGS = 30


class Backoff:
    """`first` seconds, doubled with each quick failure up to `last`; a life of `steady` seconds starts anew."""

    def __init__(self, first: float, last: float, steady: float) -> None:
        self._first = first
        self._last = last
        self._steady = steady
        self._failures = 0

    def pause(self, lived: float = 0.0) -> float:
        """Seconds until the next start, after a life of `lived` seconds; 0: it did not even start."""
        if lived >= self._steady:
            self._failures = 0
        pause = min(self._first * 2.0**self._failures, self._last)
        self._failures = min(self._failures + 1, MAX_DOUBLINGS)
        return pause
