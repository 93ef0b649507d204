"""Keys by digest, many in one statement: whoever asks while one runs is answered by the next.

A statement of its own for each digest costs 2 ms of this process, so that a few connections with made-up keys took a
core and first uses of real keys waited behind them. Together a hundred cost little more than one.
"""

from __future__ import annotations

import asyncio

from sqlmodel import col, select

from servicekit.database.database import Database
from services.auth.domain.store import Found
from services.auth.store.rows import to_account, to_key
from services.auth.tables import AccountRow, KeyRow, SequenceRow

MAX_TOGETHER = 256  # digests in one statement


class Lookups:
    """One statement at a time. Nobody's cancellation touches the others' answers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[bytes, asyncio.Future[Found | None]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def find(self, digest: bytes) -> Found | None:
        """A key, its account and the sequence in one snapshot, taken after this call. Raises DatabaseUnavailable."""
        found = self._waiting.get(digest)
        if found is None:
            found = self._waiting[digest] = asyncio.get_running_loop().create_future()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await asyncio.shield(found)

    async def _work(self) -> None:
        while self._waiting:
            batch = {digest: self._waiting.pop(digest) for digest in list(self._waiting)[:MAX_TOGETHER]}
            try:
                rows = await self._read(list(batch))
            except BaseException as error:
                for found in batch.values():
                    found.set_exception(error)
                    found.exception()  # counts as retrieved, though whoever asked may have left
                if not isinstance(error, Exception):
                    raise
            else:
                for digest, found in batch.items():
                    found.set_result(rows.get(digest))

    async def _read(self, digests: list[bytes]) -> dict[bytes, Found]:
        """One statement, so one snapshot: a revocation up to `sequence` cannot be missing from what is returned."""
        statement = (
            select(KeyRow, AccountRow, SequenceRow.last)
            .join(AccountRow, col(AccountRow.account_id) == col(KeyRow.account_id))
            .join(SequenceRow, col(SequenceRow.id) == 1)
            .where(col(KeyRow.digest).in_(digests))
        )
        async with self._database.read() as session:
            rows = (await session.exec(statement)).all()
        return {key.digest: Found(to_key(key), to_account(account), last) for key, account, last in rows}
