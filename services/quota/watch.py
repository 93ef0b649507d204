"""The books as metrics: open holds every few seconds, and all of it counted again now and then (G12)."""

from __future__ import annotations

import asyncio

from servicekit.clock import MICROSECONDS, Clock
from servicekit.errors import DatabaseUnavailable
from servicekit.logging import get_logger
from services.quota import metrics
from services.quota.domain.calendar import day_and_month
from services.quota.store.reader import Reader

log = get_logger(__name__)

HOLDS_INTERVAL = 5.0  # seconds between looks at the open holds; an index finds them
FIRST_COUNT = 30.0  # seconds after the start at most: a start is busy enough


async def look_at_holds(reader: Reader, clock: Clock) -> None:
    """One look. Raises DatabaseUnavailable."""
    count, oldest = await reader.open_holds()
    metrics.HOLDS_OPEN.set(count)
    metrics.OLDEST_HOLD.set(0 if oldest is None else max(0, clock.now_us() - oldest) / MICROSECONDS)


async def look_at_losses(reader: Reader, clock: Clock) -> None:
    """The loss book of this UTC day. Raises DatabaseUnavailable."""
    sums, largest = await reader.losses_of_day(day_and_month(clock.now_us())[0])
    for kind, credits in sums.items():
        metrics.LOSSES.labels(kind).set(credits)
    metrics.LARGEST_LOSS.set(largest)


async def count_books(reader: Reader, clock: Clock) -> None:
    """What `muhgpt doctor` asks, once. Raises DatabaseUnavailable."""
    began = clock.monotonic()
    counted = await reader.recount()
    metrics.BOOKS_SECONDS.set(clock.monotonic() - began)
    metrics.BOOKS_DIFFERENCES.set(len(counted.differences))
    metrics.BOOKS_CHECKED.set(clock.now_us() / MICROSECONDS)
    metrics.BALANCE.set(counted.balance)
    metrics.HELD.set(counted.held)
    for each in counted.differences:
        log.error("books_differ", subject=each.subject, check=each.check, expected=each.expected, found=each.found)


async def watch_books(reader: Reader, clock: Clock, *, interval: float) -> None:
    """Looks until cancelled; the books are counted every `interval` seconds.

    Whatever goes wrong is waited out: the metrics go stale, and no request suffers for what only watches.
    """
    due, seen = clock.monotonic() + min(interval, FIRST_COUNT), True
    while True:
        try:
            await look_at_holds(reader, clock)
            await look_at_losses(reader, clock)
            if clock.monotonic() >= due:
                due = clock.monotonic() + interval
                await count_books(reader, clock)
            seen = True
        except DatabaseUnavailable:
            if seen:  # once in each outage, which has lines of its own in the log
                log.warning("books_not_seen")
            seen = False
        except Exception:
            log.exception("books_watch_failed")
        await asyncio.sleep(min(HOLDS_INTERVAL, interval))
