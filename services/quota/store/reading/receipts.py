"""Pages of receipts. PostgreSQL looks into the newest partitions first, so that a page costs the same after years."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from common.hold_id import instant_us, lowest_at
from servicekit.clock import SystemClock
from servicekit.database.database import Dialect
from services.quota.domain.calendar import day_and_month, month_after, start_of_month_us
from services.quota.domain.errors import CursorMalformed
from services.quota.domain.hold_ids import LOOK_AROUND_US, MAX_SKEW_US
from services.quota.domain.records import Hold
from services.quota.store.batch import columns

LAST_INSTANT_US = 253_402_300_799_000_000  # the end of the year 9999; a cursor can name a later one
FIRST_MONTH = 197001
NEWEST = 2**63 - 1  # above the number of every admission
HIGHEST_ID = b"\xff" * 16
MONTHS_BACK = (1, 7, 31)  # that are looked into before all are

CURSOR = "SELECT account_id, seq FROM charges WHERE hold_id = :hold_id"
CARRIED = "SELECT 1 FROM carried_forward WHERE account_id = :account_id AND month >= :month LIMIT 1"
PAGE = f"SELECT {', '.join(columns.CHARGE)} FROM charges WHERE account_id = :account_id AND seq < :below{{since}}"
ORDER = " ORDER BY seq DESC LIMIT :limit"
EVERY_PAGE = PAGE.format(since="") + ORDER
YOUNG_PAGE = PAGE.format(since=" AND hold_id BETWEEN :since AND :until") + ORDER
# PostgreSQL expects few charges of an account that it has no statistics of, and would sort all that there are. A plan
# is made for each page's bounds, so that only the partitions between them are planned for.
PLANS = "SELECT set_config('enable_sort', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)"


async def page(
    connection: AsyncConnection, dialect: Dialect, account_id: str, limit: int, after: bytes | None
) -> list[Hold]:
    """Receipts as Reports.charges gives them. Raises CursorMalformed."""
    below: int | None = NEWEST
    if after is not None and (below := await _number(connection, account_id, after)) is None:
        return []
    asked = {"account_id": account_id, "below": below, "limit": limit}
    if dialect == "sqlite":
        return await _fetch(connection, EVERY_PAGE, asked)
    await connection.execute(text(PLANS))
    newest_us = SystemClock().now_us() if after is None else min(instant_us(after), LAST_INSTANT_US)
    until = HIGHEST_ID if after is None else lowest_at(newest_us + 2 * LOOK_AROUND_US)
    for months in MONTHS_BACK:
        since_us = start_of_month_us(max(month_after(day_and_month(newest_us)[1], -months), FIRST_MONTH))
        found = await _fetch(connection, YOUNG_PAGE, {**asked, "since": lowest_at(since_us), "until": until})
        if _complete(found, limit, since_us):
            return found
    return await _fetch(connection, EVERY_PAGE, asked)


async def _number(connection: AsyncConnection, account_id: str, hold_id: bytes) -> int | None:
    """The admission's number that a page goes on below; None: none older is kept, or ever was."""
    row = (await connection.execute(text(CURSOR), {"hold_id": hold_id})).first()
    if row is not None and row.account_id == account_id and row.seq is not None:
        return int(row.seq) if row.seq > 1 else None
    if row is None:  # are charges no longer kept that were made as late as this one, give or take a day?
        month = day_and_month(min(max(0, instant_us(hold_id) - MAX_SKEW_US), LAST_INSTANT_US))[1]
        if (await connection.execute(text(CARRIED), {"account_id": account_id, "month": month})).first():
            return None
    raise CursorMalformed("the account has no such charge")


def _complete(found: list[Hold], limit: int, since_us: int) -> bool:
    """Whether a look at ids made from `since_us` on has found the whole page.

    An id is made near its admission, so what is well inside the bound is followed by nothing beyond it. Admissions are
    numbered from 1, so an account's first ends its list.
    """
    whole = len(found) == limit or (bool(found) and found[-1].seq == 1)
    return whole and all(each.reserved_us > since_us + LOOK_AROUND_US for each in found)


async def _fetch(connection: AsyncConnection, statement: str, parameters: dict[str, Any]) -> list[Hold]:
    return [columns.hold_of(row) for row in (await connection.execute(text(statement), parameters)).all()]
