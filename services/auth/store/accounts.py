"""Accounts in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, tuple_
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from servicekit.database.database import Database
from services.auth.domain.account import Account, AccountState
from services.auth.domain.change import ChangeKind
from services.auth.domain.errors import AccountUnknown, EmailTaken
from services.auth.domain.page import Cursor
from services.auth.store.rows import from_account, to_account
from services.auth.store.sequence import LockedSequence
from services.auth.tables import AccountRow

STATE_CHANGES = {
    AccountState.SUSPENDED: ChangeKind.ACCOUNT_SUSPENDED,
    AccountState.ACTIVE: ChangeKind.ACCOUNT_UPDATED,
}


class AccountTable:
    """The domain's AccountStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, account: Account) -> None:
        """The unique index on the normalised email decides between two that come at once. Raises EmailTaken."""
        try:
            async with self._database.write() as session:
                session.add(from_account(account))
        except IntegrityError:
            raise EmailTaken("another account has this email") from None

    async def by_id(self, account_id: str) -> Account:
        """Raises AccountUnknown."""
        async with self._database.read() as session:
            return to_account(await account_row(session, account_id))

    async def by_email(self, email: str) -> Account:
        """Raises AccountUnknown."""
        async with self._database.read() as session:
            row = (await session.exec(select(AccountRow).where(AccountRow.email == email))).first()
        if row is None:
            raise AccountUnknown("no account has this email")
        return to_account(row)

    async def page(self, after: Cursor | None, limit: int) -> Sequence[Account]:
        """Oldest first, by an index."""
        place = tuple_(col(AccountRow.created_us), col(AccountRow.account_id))
        statement = select(AccountRow).order_by(*place).limit(limit)
        if after is not None:
            statement = statement.where(place > (after.created_us, after.row_id))
        async with self._database.read() as session:
            return [to_account(row) for row in await session.exec(statement)]

    async def count(self) -> int:
        """One statement; the database reads its smallest index."""
        async with self._database.read() as session:
            return (await session.exec(select(func.count()).select_from(AccountRow))).one()

    async def set_limits(self, account_id: str, requests_per_minute: int | None, now_us: int) -> Account:
        """Limits, version and change in one transaction under the sequence's lock. Raises AccountUnknown."""
        async with self._database.write() as session:
            sequence = await LockedSequence.take(session)
            row = await account_row(session, account_id)
            if row.requests_per_minute != requests_per_minute:
                row.requests_per_minute = requests_per_minute
                row.version += 1
                await sequence.record(ChangeKind.ACCOUNT_UPDATED, account_id, now_us)
            return to_account(row)

    async def set_state(self, account_id: str, state: AccountState, now_us: int) -> tuple[Account, int]:
        """State, version and change in one transaction under the sequence's lock. Raises AccountUnknown.

        A repeat changes nothing and returns the newest sequence, which is no lower than the first call's.
        """
        async with self._database.write() as session:
            sequence = await LockedSequence.take(session)
            row = await account_row(session, account_id)
            if row.state != state.value:
                row.state = state.value
                row.version += 1
                await sequence.record(STATE_CHANGES[state], account_id, now_us)
            return to_account(row), sequence.last


async def account_row(session: AsyncSession, account_id: str, *, lock: bool = False) -> AccountRow:
    """An account's row, locked against other writers where the database has row locks. Raises AccountUnknown."""
    # PostgreSQL has no text with NUL and would call it an error of ours.
    found = None if "\0" in account_id else await session.get(AccountRow, account_id, with_for_update=lock or None)
    if found is None:
        raise AccountUnknown("no account has this id; ids begin with acct_")
    return found
