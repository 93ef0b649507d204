"""The reading side of the books: balances, usage, receipts, the ledger. The same statements on both databases."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from servicekit.database.database import Database
from services.quota.domain.calendar import day_and_month
from services.quota.domain.errors import ChargeUnknown, CursorMalformed
from services.quota.domain.hold_ids import MOST_SKEW_US, instant_us
from services.quota.store.batch import columns
from services.quota.store.batch.columns import COUNTED_LOSSES
from services.quota.store.reading.counting import Counted, count, last_count, only_one
from services.quota.store.reading.recount import OPEN, Recount
from services.quota.tables import (
    AccountRow,
    CarriedForwardRow,
    ChargeRow,
    LedgerRow,
    LossRow,
    SessionRow,
)

LAST_INSTANT_US = 253_402_300_799_000_000  # the end of the year 9999; a cursor can name a later one

# Grouped by the database: a year of hundreds of models is more rows than this process should make objects of. One
# statement, so that days and models are of one snapshot. Of a day whose every answer was refunded nothing is left.
_OF_DAYS = " FROM usage_daily WHERE account_id = :account_id AND day BETWEEN :first AND :last AND requests > 0 GROUP BY"
USAGE = (
    "SELECT day, NULL AS model, sum(credits), sum(requests), sum(prompt_tokens + output_tokens)"
    f"{_OF_DAYS} day UNION ALL SELECT NULL, model, sum(credits), NULL, NULL{_OF_DAYS} model"
)
# Of an account that PostgreSQL has no statistics of it expects few charges, and would sort all that there are.
NO_SORT = "SELECT set_config('enable_sort', 'off', true)"


@dataclass(frozen=True)
class Balance:
    """Credits not yet charged, and how many of them are in open holds."""

    balance: int
    held: int


@dataclass(frozen=True)
class Usage:
    """Settled requests between two UTC days. Days are (day, credits, requests), models (model, credits)."""

    credits: int
    tokens: int
    requests: int
    days: list[tuple[str, int, int]]
    models: list[tuple[str, int]]


class Reader:
    """Reads through servicekit's Database. Every method raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def balance(self, account_id: str) -> Balance:
        """An unknown account has nothing."""
        async with self._database.read() as session:
            row = await session.get(AccountRow, account_id)
            return Balance(row.balance, row.held) if row else Balance(0, 0)

    async def usage(self, account_id: str, start_day: str, end_day: str) -> tuple[Balance, Usage]:
        """Usage between two days (YYYY-MM-DD, both inclusive) and the balance, in one snapshot."""
        parameters = {"account_id": account_id, "first": start_day, "last": end_day}
        async with self._database.read() as session:
            rows = (await (await session.connection()).execute(text(USAGE), parameters)).all()
            row = await session.get(AccountRow, account_id)
        days = [(day, int(credits), int(requests)) for day, model, credits, requests, _ in rows if model is None]
        models = [(model, int(credits)) for day, model, credits, _, _ in rows if day is None]
        usage = Usage(
            credits=sum(credits for _, credits, _ in days),
            tokens=sum(int(tokens) for *_, tokens in rows if tokens is not None),
            requests=sum(requests for *_, requests in days),
            days=sorted(days),
            models=sorted(models, key=lambda each: (-each[1], each[0])),
        )
        return Balance(row.balance, row.held) if row else Balance(0, 0), usage

    async def charges(self, account_id: str, limit: int, after: bytes | None) -> list[ChargeRow]:
        """Receipts by admission, newest first, older than the one with this hold id. Raises CursorMalformed.

        When that one is no longer kept, none older is: the list is at its end.
        """
        statement = select(ChargeRow).where(ChargeRow.account_id == account_id, col(ChargeRow.seq).is_not(None))
        async with self._database.read() as session:
            if after is not None:
                last = await session.get(ChargeRow, after)
                if last is None and await self._carried(session, account_id, after):
                    return []
                if last is None or last.account_id != account_id or last.seq is None:
                    raise CursorMalformed("the account has no such charge")
                statement = statement.where(col(ChargeRow.seq) < last.seq)
            if self._database.dialect == "postgresql":
                await (await session.connection()).execute(text(NO_SORT))
            return list((await session.exec(statement.order_by(col(ChargeRow.seq).desc()).limit(limit))).all())

    async def charge(self, hold_id: bytes) -> tuple[ChargeRow, str]:
        """One charge, and the name of the edge that made it. Raises ChargeUnknown."""
        async with self._database.read() as session:
            row = await session.get(ChargeRow, hold_id)
            if row is None:
                raise ChargeUnknown("there is no such charge, or it is no longer kept")
            edge = await session.get(SessionRow, row.session_id)
        return row, edge.edge_name if edge else ""

    async def _carried(self, session: AsyncSession, account_id: str, hold_id: bytes) -> bool:
        """Whether charges of the account are no longer kept that were made as late as this one, give or take a day."""
        month = day_and_month(min(max(0, instant_us(hold_id) - MOST_SKEW_US), LAST_INSTANT_US))[1]
        statement = select(CarriedForwardRow).where(
            CarriedForwardRow.account_id == account_id, CarriedForwardRow.month >= month
        )
        return (await session.exec(statement.limit(1))).first() is not None

    async def ledger(self, account_id: str, limit: int, before_id: int | None) -> list[LedgerRow]:
        """Entries, newest first, with ids below before_id."""
        statement = select(LedgerRow).where(LedgerRow.account_id == account_id)
        if before_id is not None:
            statement = statement.where(col(LedgerRow.id) < before_id)
        async with self._database.read() as session:
            return list((await session.exec(statement.order_by(col(LedgerRow.id).desc()).limit(limit))).all())

    async def losses(self, account_id: str, start_day: str, end_day: str, limit: int, offset: int) -> list[LossRow]:
        """The loss book between two UTC days (both inclusive), of one account or of all (""), newest day first."""
        statement = select(LossRow).where(LossRow.day >= start_day, LossRow.day <= end_day)
        if account_id:
            statement = statement.where(LossRow.account_id == account_id)
        most = text(f"{COUNTED_LOSSES} DESC")
        ordered = statement.order_by(col(LossRow.day).desc(), most, col(LossRow.account_id))
        async with self._database.read() as session:
            return list((await session.exec(ordered.offset(offset).limit(limit))).all())

    async def losing(self, day: str, limit: int) -> list[str]:
        """The accounts whose losses of the day are above the limit, forgiven ones not counted."""
        statement = select(LossRow.account_id).where(
            LossRow.day == day, text(f"{COUNTED_LOSSES} - forgiven > :limit").bindparams(limit=limit)
        )
        async with self._database.read() as session:
            return list((await session.exec(statement)).all())

    async def losses_of_day(self, day: str) -> tuple[dict[str, int], int]:
        """The day's sums over all accounts by kind, and the most that one account has of all kinds."""
        names = columns.LOSSES[2:]
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in names)
        statement = text(f"SELECT coalesce(max({COUNTED_LOSSES}), 0), {sums} FROM losses WHERE day = :day")
        async with self._database.read() as session:
            most, *totals = (await (await session.connection()).execute(statement, {"day": day})).one()
        return {name: int(total) for name, total in zip(names, totals, strict=True)}, int(most)

    async def open_holds(self) -> tuple[int, int | None]:
        """How many holds are open, and when the oldest was reserved, in microseconds since the epoch."""
        async with self._database.read() as session:
            count, oldest = (await (await session.connection()).execute(text(OPEN))).one()
            return int(count), oldest

    async def recount(self, *, full: bool = False, patient: bool = False) -> Recount:
        """Counts the books again from their rows (G12).

        `full`: every line, however long it takes; else that is decided by how long it took last (counting.py).
        `patient`: nobody waits for the result. Ends at once when it is cancelled.
        """
        return await count(self._database, full=full, patient=patient)

    async def last_count(self) -> Counted:
        """What the last count found, on whichever replica."""
        return await last_count(self._database)

    def only_one(self) -> AbstractAsyncContextManager[bool]:
        """False: another replica counts, or True: none will until the block ends."""
        return only_one(self._database)
