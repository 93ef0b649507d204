"""Deadlines by the thousand: they are looked at every TICK seconds, so one expires up to a tick late.

asyncio.timeout costs a timer and a context manager for every wait; here moving a deadline is one assignment.

    timers = TimerWheel()                            # one per process
    deadline = timers.start(30.0, answer.expire)     # seconds from now
    deadline.move(30.0)                              # output came: 30 s from now
    deadline.cancel()
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from servicekit.observability.logging import get_logger

log = get_logger(__name__)

TICK = 0.1  # seconds


class Deadline:
    """One moment after which `expired` is called, once, unless it is moved or cancelled before."""

    __slots__ = ("at", "bucket", "expired", "seen_at", "wheel")

    def __init__(self, wheel: TimerWheel, at: float, expired: Callable[[], None]) -> None:
        self.wheel = wheel
        self.at = at  # seconds, by the loop's clock
        self.bucket: int | None = None  # the tick at which the wheel looks at it, perhaps before `at`; None: never
        self.seen_at = 0.0  # the moment of that tick
        self.expired = expired

    def move(self, seconds: float) -> None:
        """To so many seconds from now, earlier or later. Without effect once it has expired or was cancelled."""
        self.at = self.wheel.now() + seconds
        if self.at < self.seen_at and self.bucket is not None:
            self.wheel.drop(self)
            self.wheel.put(self)

    def hasten(self, seconds: float) -> None:
        """To so many seconds from now, unless it expires before."""
        if self.wheel.now() + seconds < self.at:
            self.move(seconds)

    def cancel(self) -> None:
        """It does not expire any more."""
        self.wheel.drop(self)


class TimerWheel:
    """Keeps deadlines by the tick at which they have surely passed. Ticks only while there are any."""

    def __init__(self, tick: float = TICK) -> None:
        self._tick = tick
        self._buckets: dict[int, set[Deadline]] = {}
        self._passed = 0  # the last tick that was looked at
        self._loop: asyncio.AbstractEventLoop | None = None  # while it ticks

    def start(self, seconds: float, expired: Callable[[], None]) -> Deadline:
        """A deadline so many seconds from now; `expired` is called on the event loop and must return soon."""
        deadline = Deadline(self, self.now() + seconds, expired)
        self.put(deadline)
        return deadline

    def now(self) -> float:
        """Seconds, by the loop's clock."""
        return (self._loop or asyncio.get_running_loop()).time()

    def put(self, deadline: Deadline) -> None:
        """Looks at a deadline when its time has come."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._passed = int(self.now() / self._tick)
            self._loop.call_later(self._tick, self._look)
        deadline.bucket = max(self._passed + 1, math.ceil(deadline.at / self._tick))
        deadline.seen_at = deadline.bucket * self._tick
        self._buckets.setdefault(deadline.bucket, set()).add(deadline)

    def drop(self, deadline: Deadline) -> None:
        """Forgets a deadline."""
        if deadline.bucket is None:
            return
        bucket = self._buckets[deadline.bucket]
        bucket.discard(deadline)
        if not bucket:
            del self._buckets[deadline.bucket]
        deadline.bucket = None

    def _look(self) -> None:
        """Expires what is due and puts on what was moved meanwhile."""
        assert self._loop is not None
        now = self.now()
        before, self._passed = self._passed, int(now / self._tick)
        for tick in range(before + 1, self._passed + 1):
            for deadline in list(self._buckets.get(tick, ())):
                if deadline.bucket != tick:  # another one's expiry cancelled or moved it
                    continue
                self.drop(deadline)
                if deadline.at > now:
                    self.put(deadline)
                else:
                    _expire(deadline)
        if self._buckets:
            self._loop.call_later(self._tick, self._look)
        else:
            self._loop = None


def _expire(deadline: Deadline) -> None:
    """One that fails keeps no other from expiring."""
    try:
        deadline.expired()
    except Exception:
        log.exception("deadline_failed")
