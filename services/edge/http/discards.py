"""How fast a process reads what it throws away: the rest of requests that were answered before they had arrived."""

from __future__ import annotations

from servicekit.clock import Clock


class Discards:
    """A bucket of bytes that all connections of the process share; it fills evenly and holds one second's worth.

    A client that is still sending must be read, or closing would take its answer from it. Two hundred of them, read as
    fast as they send, would leave little of the loop to anybody else.
    """

    def __init__(self, clock: Clock, bytes_per_second: int) -> None:
        self._clock = clock
        self._rate = bytes_per_second
        self._left = float(bytes_per_second)
        self._filled = clock.monotonic()

    def take(self, count: int) -> float:
        """Counts bytes that were read and thrown away; returns the seconds for which that connection is not read."""
        now = self._clock.monotonic()
        self._left = min(self._rate, self._left + (now - self._filled) * self._rate) - count
        self._filled = now
        return max(0.0, -self._left / self._rate)
