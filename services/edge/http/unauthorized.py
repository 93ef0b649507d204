"""How many requests without a valid key one source address may make a minute before auth is not asked for it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from servicekit.clock import Clock
from services.edge.http.errors import ApiError
from services.edge.http.limited import UNAUTHORIZED

MAX_WAITING = 128  # look-ups of one address that wait for their turn
LOOK_UP_PAUSE = 0.002  # seconds between two of them
MAX_SOURCES = 10_000  # the one that failed longest ago is forgotten first
MINUTE = 60.0


class _Lane:
    """The look-ups of one address that has no tokens left."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


class Unauthorized:
    """A token bucket for each source address: `per_minute` tokens, of which each 401 takes one.

    Keys that this worker knows are never counted and never refused, so that clients behind one address are not cut off
    by one of them. A key that must be looked up takes a token first and gets it back when it is
    valid: many look-ups at once cannot overrun the bucket.
    """

    def __init__(self, clock: Clock, per_minute: int = 60, *, max_sources: int = MAX_SOURCES) -> None:
        self._clock = clock
        self._burst = float(per_minute)
        self._rate = per_minute / MINUTE
        self._max_sources = max_sources
        self._lanes: dict[str, _Lane] = {}
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # source -> (tokens, at)

    def take(self, source: str) -> None:
        """Raises ApiError 429 `refused_too_often` when the address has no token left."""
        tokens, now = self._tokens(source)
        if tokens < 1.0:
            UNAUTHORIZED.inc()
            raise ApiError.refused_too_often((1.0 - tokens) / self._rate)
        self._put(source, tokens - 1.0, now)

    def give_back(self, source: str) -> None:
        """The request had a valid key after all, or auth could not be asked."""
        tokens, now = self._tokens(source)
        self._put(source, min(self._burst, tokens + 1.0), now)

    @asynccontextmanager
    async def turn(self, source: str) -> AsyncIterator[None]:
        """In the block an address without tokens may have one key looked up: one at a time, so that auth hardly
        notices, and a valid key that comes from the same address (a proxy, an office) is still served, if later.

        Raises ApiError 429 when too many wait.
        """
        lane = self._lanes.setdefault(source, _Lane())
        if lane.waiting >= MAX_WAITING:
            UNAUTHORIZED.inc()
            raise ApiError.refused_too_often(1.0)
        lane.waiting += 1
        try:
            async with lane.lock:
                yield
                await asyncio.sleep(LOOK_UP_PAUSE)
        finally:
            lane.waiting -= 1
            if not lane.waiting:
                self._lanes.pop(source, None)

    def _tokens(self, source: str) -> tuple[float, float]:
        now = self._clock.monotonic()
        tokens, at = self._buckets.get(source, (self._burst, now))
        return min(self._burst, tokens + (now - at) * self._rate), now

    def _put(self, source: str, tokens: float, now: float) -> None:
        if tokens >= self._burst:
            self._buckets.pop(source, None)
            return
        self._buckets[source] = (tokens, now)
        self._buckets.move_to_end(source)
        if len(self._buckets) > self._max_sources:
            self._buckets.popitem(last=False)
