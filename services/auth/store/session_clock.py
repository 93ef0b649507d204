"""The clock that edge sessions are stamped with, and what happens when it is set.

On PostgreSQL it is the database's, since replicas' clocks differ. SQLite has one process, so there time is counted from
its start. Edges measure their trust with monotonic clocks, so after a step the stamps are worth nothing: after a step
forward every session would lapse while its edge still trusts its cache, and after one back a dead session would hold
up revocations until the clock caught up. So every session that did not lapse then counts as heard at that moment: it is
waited for as long as its edge may trust its cache, and no longer.

A process cannot know what happened to the clock before its first look, or during a transaction that failed (it may have
reached another server since), so the next look counts as a step.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, cast, extract, func
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from servicekit.clock import MICROSECONDS, Clock
from servicekit.observability.logging import get_logger
from services.auth.tables import SessionRow

log = get_logger(__name__)

# Less is the ordinary work of what keeps a clock right.
MIN_STEP = 0.1  # seconds

OFFSET = "session_clock_offset"
Offset = tuple[float, float]


class SessionClock:
    """Reads the clock in a transaction that then stamps sessions, or judges their stamps. For one event loop."""

    def __init__(self, dialect: str, clock: Clock) -> None:
        self._is_sqlite = dialect == "sqlite"
        self._clock = clock
        self._started_us, self._started = clock.now_us(), clock.monotonic()
        # Between these two lies the difference of the session clock and the monotonic one, in seconds.
        self._offset: Offset | None = None

    async def read(self, session: AsyncSession) -> int:
        """Microseconds since the epoch. After a step it first renews the stamps of all sessions that did not lapse."""
        before = self._clock.monotonic()
        now_us = await self._now_us(session)
        offset = (now_us / MICROSECONDS - self._clock.monotonic(), now_us / MICROSECONDS - before)
        if self._stepped(offset):
            await _renew(session, now_us)
        session.info[OFFSET] = offset
        return now_us

    def committed(self, session: AsyncSession) -> None:
        """The transaction of a read() is committed, and so are the stamps that it renewed; not before that may others
        judge stamps without renewing them."""
        offset: Offset = session.info[OFFSET]
        if self._stepped(offset):
            if self._offset is not None:
                log.warning("session_clock_set", seconds=round(offset[1] - self._offset[1], 3))
            self._offset = offset
        elif self._offset is not None and _width(offset) <= max(MIN_STEP, _width(self._offset)):
            self._offset = offset

    def distrust(self) -> None:
        """The transaction of the last read() failed."""
        self._offset = None

    def _stepped(self, offset: Offset) -> bool:
        if self._offset is None:
            return True
        (low, high), (known_low, known_high) = offset, self._offset
        return low > known_high + MIN_STEP or high < known_low - MIN_STEP

    async def _now_us(self, session: AsyncSession) -> int:
        if self._is_sqlite:
            return self._started_us + round((self._clock.monotonic() - self._started) * MICROSECONDS)
        # Not now(): that is the transaction's start, before it waited for a lock.
        clock = cast(extract("epoch", func.clock_timestamp()) * MICROSECONDS, BigInteger)
        return (await session.exec(select(clock))).one()


async def _renew(session: AsyncSession, now_us: int) -> None:
    """Waits for what others write. In order of ids, as heartbeats are written, so that two writers cannot deadlock."""
    place = col(SessionRow.session_id)
    alive = select(SessionRow.session_id).where(col(SessionRow.lapsed).is_(False)).order_by(place).with_for_update()
    await session.exec(update(SessionRow).where(place.in_(alive)).values(last_seen_us=now_us))


def _width(offset: Offset) -> float:
    return offset[1] - offset[0]
