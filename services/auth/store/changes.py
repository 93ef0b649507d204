"""Changes and edge sessions in the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import and_, case, delete
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from servicekit.clock import MICROSECONDS, Clock
from servicekit.database.database import Database
from services.auth.domain.change import Change
from services.auth.domain.errors import HelloExpected
from services.auth.domain.store import MAX_REPLAY, Known, LateSessions
from services.auth.store.rows import to_change
from services.auth.store.sequence import LockedSequence
from services.auth.store.session_clock import SessionClock
from services.auth.tables import ChangeRow, SequenceRow, SessionRow

# Rows of sessions that ended without a goodbye are of no use after their ttl; they go when the next session opens.
FORGET_AFTER = 3600 * MICROSECONDS


class ChangeTable:
    """The domain's ChangeStore. Sessions' times come from a SessionClock."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = SessionClock(database.dialect, clock)

    async def last_sequence(self) -> int:
        """One row by its primary key."""
        async with self._database.read() as session:
            return (await session.exec(select(SequenceRow.last))).one()

    async def after(self, sequence: int, limit: int) -> Sequence[Change]:
        """In order; complete, since sequences become visible in order."""
        place = col(ChangeRow.sequence)
        statement = select(ChangeRow).where(place > sequence).order_by(place).limit(limit)
        async with self._database.read() as session:
            return [to_change(row) for row in await session.exec(statement)]

    async def open_session(self, session_id: str, edge_name: str, known: Known | None, ttl: float) -> int:
        """Under the sequence's lock: a change's wait sees this session, or this session starts behind that change.

        One that starts at known.sequence joins the waits for later changes. None of them can have ended by giving up
        the session that it resumes, which is alive; and it lives no longer than that one until it is touched, so that
        no wait takes longer for it. Raises HelloExpected when the id was used before.
        """
        try:
            async with self._write() as session:
                newest = (await LockedSequence.take(session)).last
                now_us = await self._clock.read(session)
                await session.exec(delete(SessionRow).where(col(SessionRow.last_seen_us) < now_us - FORGET_AFTER))
                seen_us = await self._resumable(session, known, newest, _floor_us(now_us, ttl))
                row = SessionRow(
                    session_id=session_id,
                    edge_name=edge_name,
                    last_seen_us=now_us if seen_us is None else seen_us,
                    acked_sequence=newest if known is None or seen_us is None else known.sequence,
                )
                session.add(row)
                return row.acked_sequence
        except IntegrityError:
            raise HelloExpected("session_id was used before; take 16 new random bytes for every stream") from None

    async def _resumable(self, session: AsyncSession, known: Known | None, newest: int, floor_us: int) -> int | None:
        """When the session that knew of `known` was last heard; None: it, or the change, cannot be resumed from."""
        if known is None or not max(0, newest - MAX_REPLAY) <= known.sequence <= newest:
            return None
        statement = select(SessionRow.last_seen_us).where(
            col(SessionRow.session_id) == known.session_id,
            col(SessionRow.lapsed).is_(False),
            col(SessionRow.last_seen_us) >= floor_us,
        )
        return (await session.exec(statement)).first()

    async def touch_sessions(self, acknowledged: Mapping[str, int], ttl: float) -> frozenset[str]:
        """One statement for all. It locks in order of ids, so that two writers cannot deadlock; lapsed ones stay so."""
        place, acked = col(SessionRow.session_id), col(SessionRow.acked_sequence)
        reported = case(dict(acknowledged), value=place)
        async with self._write() as session:
            now_us = await self._clock.read(session)
            alive = and_(col(SessionRow.lapsed).is_(False), col(SessionRow.last_seen_us) >= _floor_us(now_us, ttl))
            locked = select(place).where(place.in_(acknowledged), alive).order_by(place).with_for_update()
            statement = (
                update(SessionRow)
                .where(place.in_(locked), alive)
                .values(last_seen_us=now_us, acked_sequence=case((acked < reported, reported), else_=acked))
                .returning(place)
            )
            return frozenset((await session.exec(statement)).scalars())

    async def close_session(self, session_id: str) -> None:
        """A no-op when the row is gone."""
        async with self._database.write() as session:
            await session.exec(delete(SessionRow).where(col(SessionRow.session_id) == session_id))

    async def late_sessions(self, sequence: int, ttl: float) -> LateSessions:
        """Marks the silent ones before it reports them.

        The mark and a heartbeat that comes at the same instant meet at the row's lock, so a session is never both given
        up here and prolonged there. A row that a heartbeat holds right now is skipped: it is looked at next time.
        """
        acked = col(SessionRow.acked_sequence)
        late = acked < sequence
        async with self._write() as session:
            floor_us = _floor_us(await self._clock.read(session), ttl)
            silent = (
                select(SessionRow.session_id)
                .where(late, col(SessionRow.lapsed).is_(False), col(SessionRow.last_seen_us) < floor_us)
                .with_for_update(skip_locked=True)
            )
            await session.exec(update(SessionRow).where(col(SessionRow.session_id).in_(silent)).values(lapsed=True))
            rows = (await session.exec(select(SessionRow.session_id, acked, SessionRow.lapsed).where(late))).all()
        return LateSessions(
            alive={session_id: acknowledged for session_id, acknowledged, lapsed in rows if not lapsed},
            lapsed={session_id: acknowledged for session_id, acknowledged, lapsed in rows if lapsed},
        )

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncSession]:
        """A transaction that reads the sessions' clock."""
        try:
            async with self._database.write() as session:
                yield session
        except BaseException:
            self._clock.distrust()
            raise
        self._clock.committed(session)


def _floor_us(now_us: int, ttl: float) -> int:
    """A session that was last heard before this is silent for longer than the ttl."""
    return now_us - round(ttl * MICROSECONDS)
