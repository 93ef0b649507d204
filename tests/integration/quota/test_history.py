"""An account's history costs nothing: the work of an operation is the same after many charges as after a few.

Work is counted, not timed: SQLite's virtual machine steps, and the rows that PostgreSQL's plans touch.
MUHGPT_TEST_HISTORY is how many charges the account has; `make faults` asks for a million.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Awaitable, Iterator
from contextlib import closing
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from common.hold_id import lowest_at, new_hold_id
from services.quota.domain.hold_ids import LOOK_AROUND_US
from services.quota.domain.operations import Confirm, Grant, Progress, Settle
from services.quota.domain.outcomes import Confirmed, Progressed, Refused, Reserved, Settled
from services.quota.domain.store import Store
from services.quota.store.batch import columns
from services.quota.store.postgres import statements
from services.quota.store.postgres.store import PLANS
from services.quota.store.sqlite.statements import new_charge
from tests.fakes import FakeClock
from tests.integration.quota.conftest import hold_id, opened, reserve

CHARGES = int(os.environ.get("MUHGPT_TEST_HISTORY", "20000"))
LIMIT = 1000
STEPS = 10  # virtual machine instructions between two counts


def history(clock: FakeClock) -> Iterator[tuple[Any, ...]]:
    """One request a second up to now, all settled."""
    now = clock.now_us()
    for seq in range(1, CHARGES + 1):
        at = now - (CHARGES - seq) * 1_000_000
        row = (
            dict.fromkeys(columns.CHARGE, 0)
            | dict.fromkeys((*columns.SPARSE, "produced"))
            | {
                "hold_id": new_hold_id(at),
                "account_id": "a",
                "key_id": "key-of-a",
                "session_id": b"session-session-",
                "seq": seq,
                "key_seq": None,
                "model": "muh-chat",
                "state": 2,
                "day": "2025-06-15",
                "month": 202506,
                "reserved_us": at,
                "ended_us": at,
                "unconfirmed": False,
                "estimated": False,
            }
        )
        yield tuple(row.values())


async def life(store: Store, name: str) -> None:
    """A whole request, and one that is refused."""
    assert isinstance((await store.apply([reserve(name, rpm=LIMIT)]))[0], Reserved)
    assert isinstance((await store.apply([Progress(hold_id(name), 30)]))[0], Progressed)
    assert isinstance((await store.apply([Settle(hold_id(name), 40, unconfirmed=True)]))[0], Settled)
    assert await store.apply([Confirm(hold_id(name))]) == [Confirmed()]
    assert isinstance((await store.apply([reserve(f"{name}-x", prompt=10**8, rpm=LIMIT)]))[0], Refused)


@pytest.mark.timeout(600)
async def test_on_sqlite_a_request_takes_as_many_steps_after_a_long_history(sqlite_url: str) -> None:
    clock, counted = FakeClock(), CountedSteps()
    steps = {}
    async with opened(sqlite_url, clock, connect_to=counted.connect) as (_, store):
        await store.apply([Grant("g", "a", 10**7)])
        steps["new"] = await counted.during(life(store, "first"))
    _fill_sqlite(str(make_url(sqlite_url).database), clock)
    async with opened(sqlite_url, clock, connect_to=counted.connect) as (_, store):  # a new process: nothing in memory
        steps["cold"] = await counted.during(life(store, "second"))
        steps["warm"] = await counted.during(life(store, "third"))
    # A cold start reads the last minute's 60 admissions once.
    assert steps["cold"] <= steps["new"] + 60 * 20 // STEPS
    assert steps["warm"] <= steps["new"] * 1.2


class CountedSteps:
    """Connections whose virtual machine counts its steps."""

    def __init__(self) -> None:
        self._count = 0

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = sqlite3.connect(*arguments, **options)
        connection.set_progress_handler(self._step, STEPS)
        return connection

    async def during(self, work: Awaitable[None]) -> int:
        before = self._count
        await work
        return self._count - before

    def _step(self) -> int:
        self._count += 1
        return 0


def _fill_sqlite(path: str, clock: FakeClock) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM charges")
        connection.executemany(new_charge(columns.CHARGE), history(clock))
        connection.execute("UPDATE accounts SET last_seq = ?, last_admitted_us = ?", (CHARGES, clock.now_us()))


@pytest.mark.timeout(600)
async def test_on_postgresql_no_statement_touches_more_rows_after_a_long_history(postgres_url: str) -> None:
    clock = FakeClock()
    async with opened(postgres_url, clock) as (_, store):
        await store.apply([Grant("g", "a", 10**7)])
        connection = await asyncpg.connect(postgres_url, server_settings=PLANS)
        rows = list(history(clock))
        await connection.copy_records_to_table("charges", records=rows, columns=columns.CHARGE)
        await connection.execute("UPDATE accounts SET last_seq = $1, last_admitted_us = $2", CHARGES, clock.now_us())
        await life(store, "one")
        some = [row[0] for row in rows[:: CHARGES // 64]]
        bounds, now = statements.bounds(some), clock.now_us()
        around = lowest_at(now - LOOK_AROUND_US), lowest_at(now + LOOK_AROUND_US)
        for statement, arguments in (
            (statements.LOCK_OWNERS, ([], some, *bounds)),
            (statements.LOAD_HOLDS, (some, *bounds)),
            (statements.LOAD_KEYS, (["key-of-a"], 202506)),
            (statements.LOAD_TIMES, (["a"], [CHARGES - 10], [CHARGES - 1], *around)),
            (statements.LOAD_FIRST, (["a"], [CHARGES - LIMIT], [CHARGES], clock.now_us() - 60_000_000)),
            (statements.FIND_LAPSED, (clock.now_us(), 10)),
        ):
            plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments))
            touched = dict(_scans(plan[0]["Plan"]))
            assert sum(touched.values()) <= 3 * len(some), (statement, touched)
        since = clock.now_us() - 60_000_000
        first = await connection.fetchval("SELECT first_admission('a', $1, $2, $3)", 1, CHARGES, since)
        assert first == CHARGES - 59
        await connection.close()


def _scans(node: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Tables that a plan reads, with the rows it looked at, those that a filter dropped included."""
    if "Relation Name" in node:
        rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        yield f"{node['Node Type']} {node['Relation Name']} {id(node)}", round(rows * node["Actual Loops"])
    for child in node.get("Plans", ()):
        yield from _scans(child)
