"""How many requests may be sent once more: retries must not turn a target's weakness into a flood."""

from __future__ import annotations

SHARE = 0.1  # of the requests, over time
MOST_ATTEMPTS = 3  # of one request
FIRST_BACKOFF = 0.05  # seconds; doubled with each attempt, a random part of it is waited


class RetryBudget:
    """A bucket of retries. It begins full, with one for each request that can be under way: they may all be moved when
    the target that they wait for dies. Every request adds a tenth of a retry."""

    def __init__(self, capacity: int) -> None:
        self._capacity = float(capacity)
        self._left = float(capacity)

    def request(self) -> None:
        """A request came."""
        self._left = min(self._capacity, self._left + SHARE)

    def take(self) -> bool:
        """Takes one retry out. False: there is none left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


def backoff(attempt: int, random: float) -> float:
    """Seconds to wait after so many attempts; `random` is from 0 to 1 (full jitter)."""
    return FIRST_BACKOFF * 2.0 ** (attempt - 1) * random
