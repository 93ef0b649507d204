"""A generous bound for the read endpoints, of their own (docs/wire.md): usage and models never count as inference."""

from __future__ import annotations

from collections import OrderedDict

from servicekit.clock import Clock
from services.edge.http.errors import ApiError

MAX_ACCOUNTS = 10_000


class ReadLimit:
    """A token bucket per account and worker; it guards this process, not the account's money."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._burst = float(per_minute)
        self._rate = per_minute / 60.0
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # account -> (tokens, at)

    def take(self, account_id: str) -> None:
        """Counts one read. Raises ApiError 429 with the time until one is allowed again."""
        now = self._clock.monotonic()
        tokens, at = self._buckets.get(account_id, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        if tokens < 1.0:
            self._buckets[account_id] = (tokens, now)
            raise ApiError.rate_limited((1.0 - tokens) / self._rate)
        self._buckets[account_id] = (tokens - 1.0, now)
        self._buckets.move_to_end(account_id)
        if len(self._buckets) > MAX_ACCOUNTS:
            self._buckets.popitem(last=False)
