"""Keys in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, or_, tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from servicekit.database.database import Database
from services.auth.domain.change import ChangeKind
from services.auth.domain.errors import KeyNotFound, TooManyKeys
from services.auth.domain.key import Key, NewKey
from services.auth.domain.page import Cursor
from services.auth.domain.store import Found
from services.auth.store.accounts import account_row
from services.auth.store.lookups import Lookups
from services.auth.store.rows import from_new_key, to_key
from services.auth.store.sequence import LockedSequence
from services.auth.tables import KeyRow


class KeyTable:
    """The domain's KeyStore."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lookups = Lookups(database)

    async def create(self, new: NewKey, most_active: int) -> None:
        """Counts and inserts under the account's row lock (SQLite: the write lock), so that no two count the same.

        Raises AccountUnknown, TooManyKeys.
        """
        async with self._database.write() as session:
            await account_row(session, new.key.account_id, lock=True)
            if await _active_keys(session, new.key.account_id, new.key.created_us) >= most_active:
                raise TooManyKeys(f"an account has at most {most_active} active keys; revoke one first")
            session.add(from_new_key(new))

    async def find(self, digest: bytes) -> Found | None:
        """See Lookups.find."""
        return await self._lookups.find(digest)

    async def page(self, account_id: str, after: Cursor | None, limit: int) -> Sequence[Key]:
        """Newest first, by an index. Raises AccountUnknown."""
        place = tuple_(col(KeyRow.created_us), col(KeyRow.key_id))
        statement = select(KeyRow).order_by(col(KeyRow.created_us).desc(), col(KeyRow.key_id).desc()).limit(limit)
        if after is not None:
            statement = statement.where(place < (after.created_us, after.row_id))
        async with self._database.read() as session:
            if account_id:
                await account_row(session, account_id)
                statement = statement.where(KeyRow.account_id == account_id)
            return [to_key(row) for row in await session.exec(statement)]

    async def revoke(self, key_id: str, now_us: int) -> tuple[Key, int]:
        """Mark and change in one transaction under the sequence's lock. Raises KeyNotFound.

        A repeat changes nothing and returns the newest sequence, which is no lower than the first call's.
        """
        async with self._database.write() as session:
            sequence = await LockedSequence.take(session)
            row = None if "\0" in key_id else await session.get(KeyRow, key_id)
            if row is None:
                raise KeyNotFound("no key has this id; ids begin with key_")
            if row.revoked_us is None:
                row.revoked_us = now_us
                row.version += 1
                await sequence.record(ChangeKind.KEY_REVOKED, row.account_id, now_us, key_id)
            return to_key(row), sequence.last


async def _active_keys(session: AsyncSession, account_id: str, now_us: int) -> int:
    statement = select(func.count()).where(
        KeyRow.account_id == account_id,
        col(KeyRow.revoked_us).is_(None),
        or_(col(KeyRow.expires_us).is_(None), col(KeyRow.expires_us) > now_us),
    )
    return (await session.exec(statement)).one()
