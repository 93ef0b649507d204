"""The books in PostgreSQL: one set-based statement for each kind of row of a batch, asyncpg underneath.

Several replicas may share the database. A batch locks its accounts' rows in id order first; every other row belongs to
exactly one account, so nothing else needs a lock and no two batches can wait for each other in a circle. What is read
afterwards is read by later statements (READ COMMITTED: each sees what was committed before it began), and the time is
clock_timestamp() taken under the locks, since now() is the transaction's start and can lie before another's admission.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy.engine import URL

from servicekit.clock import MICROSECONDS, Clock, SystemClock
from servicekit.database import CONNECT_TIMEOUT, outages_translated
from services.quota.domain.apply import apply
from services.quota.domain.calendar import DAY_US, day_and_month
from services.quota.domain.operations import Operation
from services.quota.domain.outcomes import Outcome
from services.quota.domain.rate_window import WINDOW_US
from services.quota.domain.records import (
    Account,
    Admissions,
    Books,
    EntryKind,
    Key,
    KeyMonth,
    LedgerEntry,
)
from services.quota.store import columns, statements
from services.quota.store.changes import changes_of
from services.quota.store.needs import Needs, complete_months

KEY_WIDTH, HOLD_WIDTH = 1 + len(columns.KEY), len(columns.CHARGE)
STATEMENT_TIMEOUT = 2.0  # seconds; a batch takes milliseconds
# Every statement finds its rows by key. A planner that looks at a young, small or not yet analysed table would rather
# read it whole, and a prepared statement would keep that plan while the table grows.
PLANS = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}


class PostgresStore:
    """Implements Store. Make with `await PostgresStore.open(url)`. A clock is given by tests only."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock | None) -> None:
        self._pool = pool
        self._clock = clock

    @classmethod
    async def open(
        cls, url: URL, *, connections: int = 4, schema: str | None = None, clock: Clock | None = None
    ) -> PostgresStore:
        """Connects to a migrated database; `connections` batches can be under way at once."""
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        settings = PLANS | ({"search_path": schema} if schema else {})
        pool = await asyncpg.create_pool(
            dsn,
            min_size=connections,
            max_size=connections + 2,  # heartbeats and the sweeper do not wait for batches
            timeout=CONNECT_TIMEOUT,
            command_timeout=STATEMENT_TIMEOUT,
            server_settings=settings,
        )
        return cls(pool, clock)

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        with outages_translated():
            async with self._pool.acquire(timeout=STATEMENT_TIMEOUT) as connection, connection.transaction():
                books = await self._load(connection, Needs.of(operations), alone=len(operations) == 1)
                outcomes = [apply(books, operation) for operation in operations]
                await self._save(connection, books)
        return outcomes

    async def renew(self, session_id: bytes, edge_name: str, lease: float) -> None:
        with outages_translated():
            microseconds = round(lease * MICROSECONDS)
            await self._pool.execute(statements.SAVE_SESSION, session_id, edge_name, microseconds, self._fake_now())

    async def lapsed(self, limit: int) -> list[bytes]:
        with outages_translated():
            return [row[0] for row in await self._pool.fetch(statements.FIND_LAPSED, self._fake_now(), limit)]

    async def close(self) -> None:
        await self._pool.close()

    def _fake_now(self) -> int | None:
        return self._clock.now_us() if self._clock else None

    async def _load(self, connection: Any, needs: Needs, *, alone: bool) -> Books:
        accounts = await connection.fetch(statements.LOCK_ACCOUNTS, list(needs.account_ids), needs.hold_ids)
        books = Books(0)
        books.accounts = {row[0]: Account(*row) for row in accounts}
        since_month = _likely_month()
        await self._load_keys(connection, needs, books, since_month)
        # A reservation's id is new but for replays. In a batch that is taken for granted: when it is not so, the
        # primary key refuses the batch, and its operations come again one by one, each looked up.
        known = needs.hold_ids if alone else [each for each in needs.hold_ids if each not in needs.reserved_ids]
        if known:
            for row in await connection.fetch(statements.LOAD_HOLDS, known):
                books.holds[row[0]] = columns.hold_of(row[:HOLD_WIDTH])
                _month(books, row[HOLD_WIDTH:])
        if needs.references:
            for row in await connection.fetch(statements.LOAD_ENTRIES, *zip(*needs.references, strict=True)):
                entry = LedgerEntry(row[0], EntryKind(row[1]), *row[2:])
                books.entries[(entry.kind, entry.reference)] = entry
        needs.complete(books)
        await self._complete_months(connection, needs, books, since_month)
        if needs.reserves:
            await self._load_admissions(connection, needs, books)
        return books

    async def _load_keys(self, connection: Any, needs: Needs, books: Books, since_month: int) -> None:
        rows = await connection.fetch(statements.LOAD_KEYS, list(needs.keys), since_month)
        books.now_us = self._fake_now() or rows[0][0]
        for row in rows:
            if row[1] is not None:
                books.keys[row[1]] = Key(*row[1:KEY_WIDTH])
                _month(books, row[KEY_WIDTH:])

    async def _complete_months(self, connection: Any, needs: Needs, books: Books, since_month: int) -> None:
        """Every month that a decision can touch was asked for by now, unless the clocks are far apart."""
        pairs = needs.months(books)
        if strange := [pair for pair in pairs - books.months.keys() if pair[1] < since_month]:
            for row in await connection.fetch(statements.LOAD_MONTHS, *zip(*strange, strict=True)):
                _month(books, row)
        complete_months(books, pairs)

    async def _load_admissions(self, connection: Any, needs: Needs, books: Books) -> None:
        since = books.now_us - WINDOW_US
        of_account, of_key = books.account_admissions, books.key_admissions
        if ranges := needs.account_ranges(books):
            for name, seq, instant in await connection.fetch(statements.LOAD_TIMES, *zip(*ranges, strict=True)):
                of_account.setdefault(name, Admissions()).times_us[seq] = instant
        if active := needs.active_accounts(books):
            for name, first in await connection.fetch(statements.LOAD_FIRST, *zip(*active, strict=True), since):
                of_account.setdefault(name, Admissions()).first_in_window = first
        if ranges := needs.key_ranges(books):
            for name, seq, instant in await connection.fetch(statements.LOAD_KEY_TIMES, *zip(*ranges, strict=True)):
                of_key.setdefault(name, Admissions()).times_us[seq] = instant
        if active := needs.active_keys(books):
            for name, first in await connection.fetch(statements.LOAD_KEY_FIRST, *zip(*active, strict=True), since):
                of_key.setdefault(name, Admissions()).first_in_window = first

    async def _save(self, connection: Any, books: Books) -> None:
        changes = changes_of(books)
        if changes:
            arrays = [array for rows in changes.values() for array in zip(*rows, strict=True)]
            await connection.execute(statements.together(tuple(changes)), *arrays)


def _likely_month() -> int:
    """Yesterday's month by this machine's clock: the database's own clock decides, and can hardly be further behind."""
    return day_and_month(SystemClock().now_us() - DAY_US)[1]


def _month(books: Books, row: Sequence[Any]) -> None:
    if row[0] is not None:
        books.months[(row[0], row[1])] = KeyMonth(*row)
