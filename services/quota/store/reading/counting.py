"""Counting the books, range by range of accounts, beside requests: no snapshot is held for longer than one range takes.

A count is full, of every line, or takes the sums of old lines from where an earlier one left them (recount.py). Books
that are counted in seconds are always counted in full, others once a day and on request. A difference
is believed only when the range's lines were read anew, all of them in one snapshot.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.clock import SystemClock
from servicekit.database.database import Database
from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger
from services.quota.domain.reports import FULL_AT_ONCE, Counted, Difference, Recount
from services.quota.store.reading import recount
from services.quota.store.reading.recount import (
    KEY_MONTHS,
    KINDS,
    MAX_DIFFERENCES,
    SLICE,
    SUMS,
    Range,
)

log = get_logger(__name__)

# Accounts in a range. Statements cost something themselves: on a busy machine smaller ranges would only take longer.
FIRST_SIZE, MIN_SIZE, MAX_SIZE = 128, 64, 4096
SHORT, LONG = 0.05, 0.25  # seconds that a range's snapshot should be held
REST = 3.0  # times as long as a range took, until the next, where no caller waits for the result
CARRY_FROM = 16  # lines of an account that are worth rows of their own; in small books SLICE
TRIES, BETWEEN_TRIES = 30, 1.0  # of a range, and seconds, while the database is away and no caller waits
ANEW = 2**62  # no count has this number: nothing is taken from an earlier one

SAVED = ("number", "full_us", "full_seconds", "counted_us", "seconds", "differences", "balance", "held")
SAVE = (
    f"INSERT INTO book_counts (id, {', '.join(SAVED)}) VALUES (1, {', '.join(f':{name}' for name in SAVED)})"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in SAVED)}"
)
STATE = f"SELECT {', '.join(SAVED)} FROM book_counts"
ONE_AT_A_TIME = "SELECT pg_try_advisory_lock(hashtext('books:' || current_schema()))"
NEXT_ONE = "SELECT pg_advisory_unlock(hashtext('books:' || current_schema()))"
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
# Everything is found by index; a planner that thinks a range is all of a table would read the table for each.
# A range's bounds are parameters, so one plan does for all ranges, and partitions are planned over once a connection.
PLANS = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
SET_PLANS = "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in PLANS.items())


@dataclass
class _Tally:
    """What was counted so far."""

    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SUMS, 0))
    differences: list[Difference] = field(default_factory=list)
    busy: float = 0.0  # seconds

    def add(self, rows: list[Any], months: list[Any]) -> None:
        total, *differing = rows
        for name, value in zip(SUMS, total[1:], strict=True):
            self.sums[name] += int(value)
        self.differences += recount.differences(differing)
        self.differences += (Difference(f"{key} {month}", KEY_MONTHS, int(e), int(f)) for key, month, e, f in months)


class Counting:
    """One count. `patient`: no caller waits for it, so it rests between ranges and waits out an outage."""

    def __init__(self, database: Database, last: Counted, *, full: bool, patient: bool) -> None:
        self._database = database
        self._last = last
        self._full = full
        self._patient = patient
        self._clock = SystemClock()
        self._tally = _Tally()
        self._number = last.number + 1 if full else last.number
        self._oldest = self._number if full else 1  # of the counts that sums are taken from
        self._held = 0.0  # seconds that the last range's snapshot was

    async def run(self) -> Recount:
        """Counts all ranges. Raises DatabaseUnavailable."""
        within, size = Range(None, None), FIRST_SIZE
        while True:
            began = self._clock.monotonic()
            within = await self._bounded(within, size)
            await self._persistently(within)
            took = self._clock.monotonic() - began
            self._tally.busy += took
            if within.high is None:
                break
            held = self._held
            size = min(MAX_SIZE, size * 2) if held < SHORT else max(MIN_SIZE, size // 2) if held > LONG else size
            within = Range(within.high, None)
            await asyncio.sleep(took * REST if self._patient else 0)
        return await self._result()

    async def _bounded(self, within: Range, size: int) -> Range:
        """The first `size` accounts of the range."""
        statement = f"SELECT id FROM accounts WHERE {within.covers('id')} ORDER BY id LIMIT 1 OFFSET {size - 1}"
        async with self._snapshot() as connection:
            high = (await connection.execute(text(statement), within.parameters)).scalar_one_or_none()
        return Range(within.low, high)

    async def _persistently(self, within: Range) -> None:
        for tries_left in reversed(range(TRIES if self._patient else 1)):
            try:
                return await self._count(within)
            except DatabaseUnavailable:
                if not tries_left:
                    raise
                await asyncio.sleep(BETWEEN_TRIES)

    async def _count(self, within: Range) -> None:
        await self._carry(within)
        rows, months = await self._compare(within, full=self._full, oldest=self._oldest)
        if len(rows) > 1 or months:
            rows, months = await self._compare(within, full=True, oldest=ANEW)
            await self._forget(within)
        self._tally.add(rows, months)

    async def _compare(self, within: Range, *, full: bool, oldest: int) -> tuple[list[Any], list[Any]]:
        parameters = {**within.parameters, "number": oldest}
        dialect, began = self._database.dialect, self._clock.monotonic()
        statements = [make(within, dialect, full=full) for make in (recount.compare, recount.compare_months)]
        async with self._snapshot() as connection:
            rows, months = [(await connection.execute(text(each), parameters)).all() for each in statements]
        self._held = self._clock.monotonic() - began
        return list(rows), list(months)

    async def _carry(self, within: Range) -> None:
        """Until no account has more to carry than the next count may read, or the rest is held back by open holds."""
        busy = self._last.full_seconds >= FULL_AT_ONCE or self._tally.busy >= FULL_AT_ONCE
        least = CARRY_FROM if busy else SLICE
        limits = {"number": self._oldest, "least": least}
        async with self._snapshot() as connection:
            due = (await connection.execute(text(recount.due(within)), within.parameters | limits)).all()
        with suppress(DatabaseUnavailable):  # read only, a full disk, or another replica at it: the lines are read
            for chunk in recount.chunks(due, within, self._database.dialect):
                more = True
                while more:
                    began = self._clock.monotonic()
                    more = await self._carry_some(chunk, limits)
                    if self._database.dialect == "sqlite":  # requests poll for the lock: leave them as long as it took
                        await asyncio.sleep(self._clock.monotonic() - began)

    async def _carry_some(self, within: Range, limits: dict[str, int]) -> bool:
        """One transaction; true when there is more to carry."""
        parameters = within.parameters | limits
        async with self._write() as connection:
            rows = (await connection.execute(text(recount.bounds(within)), parameters)).all()
            due = [row[: len(recount.BOUNDS)] for row in rows if row.upto > row.seq]
            if not due:
                return False
            parameters |= {"due": json.dumps([[each[0], *map(int, each[1:])] for each in due])}
            parameters |= {"new_number": self._number}
            for statement in recount.carry(within, self._database.dialect):
                used = {name: value for name, value in parameters.items() if f":{name}" in statement}
                await connection.execute(text(statement), used)
        return any(row.upto - row.seq == recount.SLICE and row.last_seq > row.upto for row in rows)

    async def _forget(self, within: Range) -> None:
        with suppress(DatabaseUnavailable):
            async with self._write() as connection:
                await connection.execute(
                    text(f"DELETE FROM counted WHERE {within.covers('account_id')}"), within.parameters
                )

    async def _result(self) -> Recount:
        sums, tally = self._tally.sums, self._tally
        async with self._snapshot() as connection:
            open_holds, oldest = (await connection.execute(text(recount.OPEN))).one()
            if self._full:
                stray = await connection.execute(text(recount.STRAY_MONTHS))
                tally.differences += (Difference(f"{key} {month}", KEY_MONTHS, 0, int(n)) for key, month, n in stray)
        result = Recount(
            accounts=sums["accounts"],
            totals={kind: sums[name] for name, kind in KINDS.items()},
            balance=sums["balance"],
            held=sums["held"],
            open_holds=int(open_holds),
            oldest_hold_us=oldest,
            differences=list(islice(tally.differences, MAX_DIFFERENCES)),
        )
        with suppress(DatabaseUnavailable):
            await self._save(result)
        return result

    async def _save(self, result: Recount) -> None:
        now_us, last, busy = self._clock.now_us(), self._last, self._tally.busy
        row = {
            "number": self._number,
            "full_us": now_us if self._full else last.full_us,
            "full_seconds": busy if self._full else last.full_seconds,
            "counted_us": now_us,
            "seconds": busy,
            "differences": len(result.differences),
            "balance": result.balance,
            "held": result.held,
        }
        async with self._write() as connection:
            await connection.execute(text(SAVE), row)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.read(timeout=None) as session:
            connection = await session.connection()
            await self._plan(connection, f"{SNAPSHOT}, READ ONLY")
            yield connection

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._database.write() as session:
                connection = await session.connection()
                await self._plan(connection, SNAPSHOT)
                yield connection
        except DBAPIError as error:  # another replica carries the same: one of the two is enough
            raise DatabaseUnavailable("the count was not kept") from error

    async def _plan(self, connection: AsyncConnection, isolation: str) -> None:
        if self._database.dialect == "postgresql":
            for statement in (isolation, SET_PLANS):
                await connection.exec_driver_sql(statement)


async def last_count(database: Database) -> Counted:
    """What the last count left behind. Raises DatabaseUnavailable."""
    async with database.read() as session:
        row = (await (await session.connection()).execute(text(STATE))).first()
    return Counted(*row) if row else Counted()


async def count(database: Database, *, full: bool, patient: bool) -> Recount:
    """Counts the books. Raises DatabaseUnavailable."""
    last = await last_count(database)
    full = full or last.full_is_due(SystemClock().now_us())
    return await Counting(database, last, full=full, patient=patient).run()


@asynccontextmanager
async def only_one(database: Database) -> AsyncIterator[bool]:
    """True: no other replica counts while the block runs. Raises DatabaseUnavailable."""
    if database.dialect == "sqlite":
        yield True
        return
    async with database.connection() as connection:
        mine = bool((await connection.exec_driver_sql(ONE_AT_A_TIME)).scalar_one())
        try:
            yield mine
        finally:
            if mine:
                await connection.exec_driver_sql(NEXT_ONE)
