"""The reading side of the books: balances, usage, the ledger, losses. The same statements on both databases."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from servicekit.database.database import Database
from services.quota.domain.errors import ChargeUnknown
from services.quota.domain.records import Hold
from services.quota.domain.reports import Balance, Counted, LedgerLine, LossDay, Recount, Usage
from services.quota.store.batch import columns
from services.quota.store.batch.columns import COUNTED_LOSSES
from services.quota.store.reading import receipts
from services.quota.store.reading.counting import count, last_count, only_one
from services.quota.store.reading.recount import OPEN

BALANCE = "SELECT balance, held FROM accounts WHERE id = :account_id"
# Grouped by the database: a year of hundreds of models is more rows than this process should make objects of. One
# statement, so that days and models are of one snapshot. Of a day whose every answer was refunded nothing is left.
_OF_DAYS = " FROM usage_daily WHERE account_id = :account_id AND day BETWEEN :first AND :last AND requests > 0 GROUP BY"
USAGE = (
    "SELECT day, NULL AS model, sum(credits), sum(requests), sum(prompt_tokens + output_tokens)"
    f"{_OF_DAYS} day UNION ALL SELECT NULL, model, sum(credits), NULL, NULL{_OF_DAYS} model"
)
CHARGE = f"SELECT {', '.join(columns.CHARGE)} FROM charges WHERE hold_id = :hold_id"
EDGE_NAME = "SELECT edge_name FROM sessions WHERE id = :session_id"
LEDGER = (
    "SELECT id, kind, credits, reference, reason, created_us FROM ledger"
    " WHERE account_id = :account_id AND id < :before_id ORDER BY id DESC LIMIT :limit"
)
NEWEST = 2**63 - 1  # above the id of every ledger line
LOSSES = (
    f"SELECT {', '.join(columns.LOSSES)}, forgiven FROM losses WHERE day BETWEEN :first AND :last{{account}}"
    f" ORDER BY day DESC, {COUNTED_LOSSES} DESC, account_id LIMIT :limit OFFSET :offset"
)
LOSSES_OF_ALL, LOSSES_OF_ONE = (LOSSES.format(account=each) for each in ("", " AND account_id = :account_id"))
LOSING = f"SELECT account_id FROM losses WHERE day = :day AND {COUNTED_LOSSES} - forgiven > :limit"
LOSSES_OF_DAY = (
    f"SELECT coalesce(max({COUNTED_LOSSES}), 0),"
    f" {', '.join(f'coalesce(sum({name}), 0)' for name in columns.LOSSES[2:])} FROM losses WHERE day = :day"
)


class Reader:
    """Implements Reports with servicekit's Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def balance(self, account_id: str) -> Balance:
        return _balance(await self._all(BALANCE, account_id=account_id))

    async def usage(self, account_id: str, start_day: str, end_day: str) -> tuple[Balance, Usage]:
        async with self._database.read() as session:
            rows = await _fetch(session, USAGE, account_id=account_id, first=start_day, last=end_day)
            balance = _balance(await _fetch(session, BALANCE, account_id=account_id))
        return balance, _usage(rows)

    async def charges(self, account_id: str, limit: int, after: bytes | None) -> list[Hold]:
        async with self._database.read() as session:
            connection = await session.connection()
            return await receipts.page(connection, self._database.dialect, account_id, limit, after)

    async def charge(self, hold_id: bytes) -> tuple[Hold, str]:
        async with self._database.read() as session:
            rows = await _fetch(session, CHARGE, hold_id=hold_id)
            if not rows:
                raise ChargeUnknown("there is no such charge, or it is no longer kept")
            hold = columns.hold_of(rows[0])
            names = await _fetch(session, EDGE_NAME, session_id=hold.session_id)
        return hold, names[0][0] if names else ""

    async def ledger(self, account_id: str, limit: int, before_id: int | None) -> list[LedgerLine]:
        below = NEWEST if before_id is None else before_id
        return [
            LedgerLine(*row) for row in await self._all(LEDGER, account_id=account_id, before_id=below, limit=limit)
        ]

    async def losses(self, account_id: str, start_day: str, end_day: str, limit: int, offset: int) -> list[LossDay]:
        period: dict[str, Any] = {"first": start_day, "last": end_day, "limit": limit, "offset": offset}
        if account_id:
            return [LossDay(*row) for row in await self._all(LOSSES_OF_ONE, account_id=account_id, **period)]
        return [LossDay(*row) for row in await self._all(LOSSES_OF_ALL, **period)]

    async def losing(self, day: str, limit: int) -> list[str]:
        return [row[0] for row in await self._all(LOSING, day=day, limit=limit)]

    async def losses_of_day(self, day: str) -> tuple[dict[str, int], int]:
        most, *totals = (await self._all(LOSSES_OF_DAY, day=day))[0]
        return {name: int(total) for name, total in zip(columns.LOSSES[2:], totals, strict=True)}, int(most)

    async def open_holds(self) -> tuple[int, int | None]:
        count, oldest = (await self._all(OPEN))[0]
        return int(count), oldest

    async def recount(self, *, full: bool = False, patient: bool = False) -> Recount:
        return await count(self._database, full=full, patient=patient)

    async def last_count(self) -> Counted:
        return await last_count(self._database)

    def only_one(self) -> AbstractAsyncContextManager[bool]:
        return only_one(self._database)

    async def _all(self, statement: str, **parameters: Any) -> list[Any]:
        async with self._database.read() as session:
            return await _fetch(session, statement, **parameters)


async def _fetch(session: AsyncSession, statement: str, **parameters: Any) -> list[Any]:
    return list((await (await session.connection()).execute(text(statement), parameters)).all())


def _balance(rows: list[Any]) -> Balance:
    return Balance(*rows[0]) if rows else Balance(0, 0)


def _usage(rows: list[Any]) -> Usage:
    days = [(day, int(credits), int(requests)) for day, model, credits, requests, _ in rows if model is None]
    models = [(model, int(credits)) for day, model, credits, _, _ in rows if day is None]
    return Usage(
        credits=sum(credits for _, credits, _ in days),
        tokens=sum(int(tokens) for *_, tokens in rows if tokens is not None),
        requests=sum(requests for *_, requests in days),
        days=sorted(days),
        models=sorted(models, key=lambda each: (-each[1], each[0])),
    )
