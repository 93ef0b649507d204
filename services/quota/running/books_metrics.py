"""The books as metrics: open holds every few seconds, and all of it counted again now and then (G12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from servicekit.clock import MICROSECONDS, Clock
from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger
from services.quota import metrics
from services.quota.domain.calendar import day_and_month
from services.quota.domain.reports import Counted, Reports

log = get_logger(__name__)

HOLDS_INTERVAL = 5.0  # seconds between looks at the open holds, at least; an index finds them
MAX_HOLDS_A_SECOND = 1_000  # that are read to be counted: some 2 ms of PostgreSQL
FIRST_COUNT = 30.0  # seconds after the start at most: a start is busy enough


async def look_at_holds(reports: Reports, clock: Clock) -> int:
    """One look, which reads every open hold; returns how many there are. Raises DatabaseUnavailable."""
    count, oldest = await reports.open_holds()
    metrics.HOLDS_OPEN.set(count)
    metrics.OLDEST_HOLD.set(0 if oldest is None else max(0, clock.now_us() - oldest) / MICROSECONDS)
    return count


def pause_after(holds: int, least: float) -> float:
    """Seconds until the next look: looking costs the same a second, however many holds the last one has read."""
    return max(least, holds / MAX_HOLDS_A_SECOND)


async def look_at_losses(reports: Reports, clock: Clock) -> None:
    """The loss book of this UTC day. Raises DatabaseUnavailable."""
    sums, largest = await reports.losses_of_day(day_and_month(clock.now_us())[0])
    for kind, credits in sums.items():
        metrics.LOSSES.labels(kind).set(credits)
    metrics.LARGEST_LOSS.set(largest)


async def count_books(reports: Reports, clock: Clock, *, patient: bool = False) -> None:
    """What `muhgpt doctor` asks, once; `patient`: beside requests, slowly. Raises DatabaseUnavailable."""
    began = clock.monotonic()
    counted = await reports.recount(patient=patient)
    _show(
        Counted(
            counted_us=clock.now_us(),
            seconds=clock.monotonic() - began,
            differences=len(counted.differences),
            balance=counted.balance,
            held=counted.held,
        )
    )
    for each in counted.differences:
        log.error("books_differ", subject=each.subject, check=each.check, expected=each.expected, found=each.found)


async def show_last_count(reports: Reports, clock: Clock, interval: float) -> bool:
    """Shows what the last count found, on any replica; True: the next is due. Raises DatabaseUnavailable."""
    last = await reports.last_count()
    if last.counted_us:
        _show(last)
    return not 0 <= clock.now_us() - last.counted_us < interval * MICROSECONDS


def _show(counted: Counted) -> None:
    metrics.BOOKS_SECONDS.set(counted.seconds)
    metrics.BOOKS_DIFFERENCES.set(counted.differences)
    metrics.BOOKS_CHECKED.set(counted.counted_us / MICROSECONDS)
    metrics.BALANCE.set(counted.balance)
    metrics.HELD.set(counted.held)


async def watch_books(reports: Reports, clock: Clock, *, interval: float) -> None:
    """Looks until cancelled; one replica counts the books every `interval` seconds."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_keep_looking(reports, clock, min(HOLDS_INTERVAL, interval)))
        group.create_task(_keep_counting(reports, clock, interval))


async def _keep_looking(reports: Reports, clock: Clock, pause: float) -> None:
    while True:
        holds = 0
        async with _outwaited():
            holds = await look_at_holds(reports, clock)
            await look_at_losses(reports, clock)
        await asyncio.sleep(pause_after(holds, pause))


async def _keep_counting(reports: Reports, clock: Clock, interval: float) -> None:
    await asyncio.sleep(min(interval, FIRST_COUNT))
    while True:
        async with _outwaited():
            if await show_last_count(reports, clock, interval):
                async with reports.only_one() as mine:
                    if mine:
                        await count_books(reports, clock, patient=True)
        await asyncio.sleep(min(HOLDS_INTERVAL, interval))


@asynccontextmanager
async def _outwaited() -> AsyncIterator[None]:
    """Whatever goes wrong is waited out: the metrics go stale, and no request suffers for what only watches."""
    try:
        yield
    except DatabaseUnavailable:
        log.debug("books_not_seen")  # the outage has its own lines
    except Exception:
        log.exception("books_watch_failed")
