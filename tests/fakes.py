"""Stand-ins for the world outside: time. Nothing of the project's own code is faked here."""

from __future__ import annotations


class FakeClock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now_us: int = 1_750_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic = 1000.0

    def now_us(self) -> int:
        return self._now_us

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Moves both clocks forward."""
        self._now_us += round(seconds * 1_000_000)
        self._monotonic += seconds

    def set(self, seconds: float) -> None:
        """Sets the wall clock forward, or back; no time passes."""
        self._now_us += round(seconds * 1_000_000)
