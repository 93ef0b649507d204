"""What must not grow with the books: held to by plans and counted rows, not by time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, text

from common.hold_id import lowest_at
from servicekit.clock import SystemClock
from services.quota.domain.calendar import start_of_month_us
from services.quota.domain.operations import Grant, Settle
from services.quota.running.books_metrics import MAX_HOLDS_A_SECOND, pause_after
from services.quota.store.postgres import statements as postgres
from services.quota.store.postgres.store import PLANS
from services.quota.store.reading import receipts
from services.quota.store.reading.reader import USAGE, Reader
from services.quota.store.sqlite import statements as sqlite
from tests.fakes import FakeClock
from tests.integration.quota.conftest import SESSION, START_US, hold_id, opened, reserve

OPEN = 400
DEAD = b"dead-dead-dead-d"
STEPS = 10  # virtual machine instructions between two counts
MONTHS = 64


def scans(node: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Tables that an analysed plan reads, with the rows it looked at, those that a filter dropped included."""
    if "Relation Name" in node:
        rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        yield node["Relation Name"], round(rows * node["Actual Loops"])
    for child in node.get("Plans", ()):
        yield from scans(child)


async def analysed(connection: Any, statement: str, *arguments: Any) -> dict[str, Any]:
    found = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments))
    plan: dict[str, Any] = found[0]["Plan"]
    return plan


@asynccontextmanager
async def with_open_holds(url: str, clock: FakeClock) -> AsyncIterator[Any]:
    """OPEN holds of a session that is alive, three of one that is not, and one of a session that has no row."""
    async with opened(url, clock) as (_, store):
        await store.apply([Grant("g", "a", 10**9)])
        await store.renew(DEAD, "dead", 1.0)
        await store.apply([reserve(f"dead{number}", rpm=10**6, session=DEAD) for number in range(3)])
        await store.apply([reserve("unknown", rpm=10**6, session=b"unknown-unknown-")])
        clock.advance(5)
        await store.renew(SESSION, "alive", 10.0)
        for first in range(0, OPEN, 50):
            await store.apply([reserve(f"live{number}", rpm=10**6) for number in range(first, first + 50)])
        yield store


async def test_the_sweeper_finds_the_holds_of_lapsed_and_unknown_sessions(database_url: str, clock: FakeClock) -> None:
    async with with_open_holds(database_url, clock) as store:
        assert set(await store.lapsed(10)) == {hold_id(name) for name in ("dead0", "dead1", "dead2", "unknown")}
        assert await store.lapsed(2) == [hold_id("dead0"), hold_id("dead1")]
        await store.apply(
            [Settle(hold_id("dead1"), 5, unconfirmed=True), Settle(hold_id("live1"), 5, unconfirmed=True)]
        )
        assert await store.unconfirmed(0.0, 10) == [hold_id("dead1")]


async def test_on_postgresql_the_sweeper_reads_no_hold_of_a_session_that_is_alive(
    postgres_url: str, clock: FakeClock
) -> None:
    async with with_open_holds(postgres_url, clock):
        connection = await asyncpg.connect(postgres_url, server_settings=PLANS)
        for statement in (postgres.FIND_LAPSED, postgres.FIND_UNCONFIRMED):
            touched = list(scans(await analysed(connection, statement, clock.now_us(), 1000)))
            of_charges = sum(rows for name, rows in touched if name.startswith("charges"))
            assert of_charges < 20, touched
        await connection.close()


async def test_on_sqlite_the_sweeper_reads_no_hold_of_a_session_that_is_alive(
    sqlite_url: str, clock: FakeClock
) -> None:
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    async with with_open_holds(sqlite_url, clock):
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
            connection.set_progress_handler(step, STEPS)
            assert len(connection.execute(sqlite.FIND_LAPSED, (clock.now_us(), 1000)).fetchall()) == 4
            assert count * STEPS < 2 * OPEN  # one that is read takes more than two


def test_looking_at_open_holds_costs_the_same_a_second_however_many_there_are() -> None:
    assert pause_after(10, 5.0) == 5.0
    for holds in (20_000, 1_000_000):
        assert holds / pause_after(holds, 5.0) == pytest.approx(MAX_HOLDS_A_SECOND)


async def test_usage_comes_from_the_database_as_a_row_for_each_day_and_model(
    database_url: str, clock: FakeClock
) -> None:
    days, models = 12, 40
    async with opened(database_url, clock) as (database, _):
        rows = [
            {"day": f"2025-06-{day:02d}", "model": f"m{model}"} for day in range(1, days + 1) for model in range(models)
        ]
        insert = "INSERT INTO usage_daily VALUES ('a', :day, :model, 1, 1, 1, 1)"
        async with database.write() as session:
            await (await session.connection()).execute(text(insert), rows)
        async with database.read() as session:
            asked = {"account_id": "a", "first": "2025-06-01", "last": "2025-06-30"}
            found = (await (await session.connection()).execute(text(USAGE), asked)).all()
    assert len(found) == days + models


async def test_a_count_of_the_books_holds_no_snapshot_for_all_accounts(database_url: str, clock: FakeClock) -> None:
    """While one is held, PostgreSQL keeps every version of the rows of busy accounts, and SQLite's log grows."""
    accounts = 700
    async with opened(database_url, clock) as (database, store):
        await store.apply([Grant(f"g{number}", f"a{number:04d}", 10) for number in range(accounts)])
        began = 0

        @event.listens_for(database.patient_engine.sync_engine, "begin")
        def count(_connection: Any) -> None:
            nonlocal began
            began += 1

        counted = await Reader(database).recount()
        assert (counted.accounts, counted.differences) == (accounts, [])
        assert began > 3 * 3  # at least three ranges of three transactions


async def test_a_page_of_receipts_is_found_by_its_index_and_not_sorted(postgres_url: str, clock: FakeClock) -> None:
    """Of an account that the statistics do not know."""
    async with opened(postgres_url, clock) as (database, store):
        await store.apply([Grant("g", "a", 10**9)])
        for first in range(0, OPEN, 50):
            await store.apply([reserve(f"h{number}", rpm=10**6) for number in range(first, first + 50)])
        plan = await page_plan(database, since_us=START_US - 40 * 86_400_000_000)
    assert "Sort" not in {node["Node Type"] for node in nodes(plan)}
    assert sum(rows for _, rows in scans(plan)) <= 20 + 5  # what a merge of the partitions looks at first


async def test_a_page_of_receipts_is_planned_for_few_partitions_of_many(postgres_url: str, clock: FakeClock) -> None:
    async with opened(postgres_url, clock) as (database, _):
        connection = await asyncpg.connect(postgres_url)
        for number in range(MONTHS):
            year, month = 2017 + number // 12, number % 12 + 1
            bounds = [lowest_at(start_of_month_us(each)).hex() for each in (year * 100 + month, after(year, month))]
            name = f"charges_{year * 100 + month}"
            await connection.execute(
                f"CREATE TABLE {name} PARTITION OF charges FOR VALUES FROM ('\\x{bounds[0]}') TO ('\\x{bounds[1]}')"
            )
        plan = await page_plan(database, since_us=start_of_month_us(202505))
        await connection.close()
    assert len([node for node in nodes(plan) if "Relation Name" in node]) <= 8  # of over 70


async def test_the_few_receipts_of_a_new_account_take_one_look(postgres_url: str, clock: FakeClock) -> None:
    now = SystemClock()
    clock.advance((now.now_us() - clock.now_us()) / 1e6)
    async with opened(postgres_url, clock) as (database, store):
        await store.apply([Grant("g", "a", 10**9), *(reserve(f"h{n}", made_us=now.now_us()) for n in range(3))])
        looks = []

        @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
        def look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            looks.append("FROM charges WHERE account_id" in statement)

        found = await Reader(database).charges("a", 20, None)
        assert ([each.seq for each in found], sum(looks)) == ([3, 2, 1], 1)
        assert await Reader(database).charges("a", 20, found[-1].id) == []
        assert [each.seq for each in await Reader(database).charges("a", 1, found[0].id)] == [2]


def after(year: int, month: int) -> int:
    return (year + 1) * 100 + 1 if month == 12 else year * 100 + month + 1


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


async def page_plan(database: Any, *, since_us: int) -> dict[str, Any]:
    """How the newest page of account a is found, as the reader asks for it."""
    values = {"account_id": "a", "below": receipts.NEWEST, "limit": 20}
    bounds = {"since": lowest_at(since_us), "until": receipts.HIGHEST_ID}
    async with database.read() as session:
        connection = await session.connection()
        await connection.execute(text(receipts.PLANS))
        statement = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {receipts.YOUNG_PAGE}")
        found = (await connection.execute(statement, values | bounds)).scalar_one()
        plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
        return plan
