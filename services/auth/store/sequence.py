"""The number of the newest change, and the lock that makes numbers and commits agree."""

from __future__ import annotations

from sqlmodel import col, update
from sqlmodel.ext.asyncio.session import AsyncSession

from services.auth.domain.change import ChangeKind
from services.auth.tables import ChangeRow, SequenceRow


class LockedSequence:
    """The sequence, held by one transaction until it commits.

    A SERIAL column would number changes before they commit: 8 could become visible before 7, an edge at 8 would never
    be sent 7, and its acknowledgement of 8 would count for 7. So one row is the counter. Updating it locks it until
    the commit: changes become visible in order and without gaps, and a session that opens under the same lock either
    is seen by a change's wait or starts behind that change. Take it first in a transaction, so that no two can
    deadlock.
    """

    def __init__(self, session: AsyncSession, last: int) -> None:
        self._session = session
        self.last = last

    @classmethod
    async def take(cls, session: AsyncSession) -> LockedSequence:
        """Waits for the lock, for as long as the transaction's time-out allows."""
        return cls(session, await _advance(session, 0))

    async def record(self, kind: ChangeKind, account_id: str, now_us: int, key_id: str = "") -> int:
        """Adds a change; returns its sequence, which is now the last."""
        self.last = await _advance(self._session, 1)
        self._session.add(
            ChangeRow(sequence=self.last, kind=kind.value, account_id=account_id, key_id=key_id, created_us=now_us)
        )
        return self.last


async def _advance(session: AsyncSession, by: int) -> int:
    statement = update(SequenceRow).values(last=col(SequenceRow.last) + by).returning(col(SequenceRow.last))
    return int((await session.exec(statement)).scalar_one())
