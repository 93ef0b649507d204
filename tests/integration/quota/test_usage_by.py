"""usage_by: what it says beside usage_daily, and beside a process of the version before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from servicekit.database.database import Database
from servicekit.database.schema import Schema
from services.quota.domain.operations import Confirm, Expire, Grant, Progress, RefundAnswer, Release, Settle
from services.quota.migrate import MIGRATIONS
from services.quota.store.batch import columns
from tests.fakes import FakeClock
from tests.integration.quota.conftest import START_US, hold_id, opened, reserve
from tests.integration.quota.test_upgrade import LATER

BY_MODEL = "account_id, day, model, sum(credits), sum(requests), sum(prompt_tokens), sum(output_tokens)"
USAGE = f"SELECT {BY_MODEL} FROM {{table}} WHERE requests <> 0 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
EACH = "SELECT endpoint, key_id, member_id, credits, requests, last_used_us FROM usage_by ORDER BY 1, 2, 3"


async def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    async with database.read() as session:
        return [tuple(row) for row in (await (await session.connection()).execute(text(statement))).all()]


async def execute(database: Database, statement: str, **values: Any) -> None:
    async with database.write() as session:
        await (await session.connection()).execute(text(statement), values)


async def agree(database: Database) -> bool:
    daily, by = [await rows(database, USAGE.format(table=each)) for each in ("usage_daily", "usage_by")]
    return daily == by


async def test_every_end_of_a_hold_is_in_it_once(database_url: str, clock: FakeClock) -> None:
    async with opened(database_url, clock) as (database, store):
        await store.apply([Grant("g", "a", 1_000_000)])
        for end in (
            [Settle(hold_id("s"), 5)],
            [Settle(hold_id("w"), 5, unconfirmed=True), Confirm(hold_id("w"))],
            [Settle(hold_id("r"), 5, unconfirmed=True), RefundAnswer(hold_id("r"))],
            [Settle(hold_id("n"), 0)],
            [Release(hold_id("l"))],
            [Progress(hold_id("x"), 9), Expire(hold_id("x"))],
        ):
            name = end[0].hold_id[6:7].decode()
            await store.apply([replace(reserve(name), endpoint="completions" if name == "s" else None, member_id="m")])
            for operation in end:
                await store.apply([operation])
        assert await agree(database)
        assert await rows(database, EACH) == [
            ("chat", "key-of-a", "m", 25 + 37, 2, START_US),
            ("completions", "key-of-a", "m", 25, 1, START_US),
        ]


async def test_charges_that_the_version_before_ends_are_in_it_once(postgres_url: str, clock: FakeClock) -> None:
    """It names its own columns in what it writes, which is all that a trigger sees of it."""
    async with opened(postgres_url, clock) as (database, store):
        await store.apply([Grant("g", "a", 1_000_000), reserve("old"), reserve("new"), reserve("nothing")])
        await store.apply([Settle(hold_id("new"), 5)])
        ending = (
            "UPDATE charges SET state = 2, held = 0, ended_us = :now, output_tokens = :n, credits = :c"
            " WHERE hold_id = :id"
        )
        await execute(database, ending, now=START_US + 1, n=7, c=31, id=hold_id("old"))
        await execute(database, ending, now=START_US + 1, n=0, c=0, id=hold_id("nothing"))
        assert await rows(database, EACH) == [("chat", "key-of-a", "", 25 + 31, 2, START_US + 1)]
        marked = await rows(database, "SELECT produced FROM charges ORDER BY hold_id")
        assert [bool(row[0]) for row in marked] == [True, False, True]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """A database without any table."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


async def test_the_migration_fills_it_from_charges_in_steps(empty_url: str, clock: FakeClock) -> None:
    """More charges than one step takes, from the schema of the version before."""
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    url = make_url(empty_url)
    engine = create_async_engine(url.set(drivername=drivers[url.drivername]))
    await Schema(MIGRATIONS).upgrade(engine, wait=10, target="0009")
    async with engine.begin() as connection:
        for table, column in (("accounts", ACCOUNT_BEFORE), ("charges", CHARGE_BEFORE), ("usage_daily", USED)):
            statement = f"INSERT INTO {table} ({', '.join(column)}) VALUES ({', '.join(f':{each}' for each in column)})"
            await connection.execute(text(statement), BEFORE[table])
    await engine.dispose()
    async with opened(empty_url, clock) as (database, _):
        assert await agree(database)
        assert await rows(database, EACH) == [("chat", "k", "", 7 * CHARGES, CHARGES, START_US + CHARGES - 1)]
        if database.dialect == "postgresql":
            assert await rows(database, "SELECT count(*) FROM pg_class WHERE relname = 'usage_by_filled'") == [(0,)]


CHARGES = 4_500
ACCOUNT_BEFORE = ("id", "balance", "held", "last_seq", "last_admitted_us", "version", "requests_per_minute")
CHARGE_BEFORE = columns.CHARGE[: len(columns.CHARGE) - len(LATER)]
USED = columns.USAGE


def charge(number: int, **fields: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(CHARGE_BEFORE, 0)
    ids = {"hold_id": hold_id(f"{number}"), "account_id": "a", "key_id": "k", "session_id": b"s", "model": "m"}
    told = {"seq": number + 1, "key_seq": None, "state": 2, "prompt_tokens": 1, "output_tokens": 2, "credits": 7}
    when = {"day": "2025-06-15", "month": 202506, "reserved_us": START_US, "ended_us": START_US + number}
    return numbers | ids | told | when | {"unconfirmed": False, "estimated": False} | fields


BEFORE: dict[str, list[dict[str, Any]]] = {
    "accounts": [dict.fromkeys(ACCOUNT_BEFORE, 1) | {"id": "a", "held": 0, "last_seq": CHARGES + 3}],
    "charges": [
        *(charge(number) for number in range(CHARGES)),
        charge(CHARGES, state=1, ended_us=None, output_tokens=0, credits=0),
        charge(CHARGES + 1, state=3, output_tokens=0, credits=0),
        charge(CHARGES + 2, credits=0, refunded=7),
    ],
    "usage_daily": [
        {
            "account_id": "a",
            "day": "2025-06-15",
            "model": "m",
            "credits": 7 * CHARGES,
            "requests": CHARGES,
            "prompt_tokens": CHARGES,
            "output_tokens": 2 * CHARGES,
        }
    ],
}
