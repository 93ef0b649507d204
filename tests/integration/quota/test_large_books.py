"""Counting large books: in short transactions, with requests beside it, and shorter the second time.

MUHGPT_TEST_HISTORY is how many charges there are, MUHGPT_TEST_HISTORY_EACH of how many an account has;
`make faults` asks for a million charges.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import event, text

from servicekit.database.database import Database
from services.quota.domain.operations import Grant, Settle
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import START_US, Ledger, hold_id, opened, reserve, reserved

CHARGES = int(os.environ.get("MUHGPT_TEST_HISTORY", "20000"))
EACH = int(os.environ.get("MUHGPT_TEST_HISTORY_EACH", "20"))
ACCOUNTS = CHARGES // EACH
COST = 40
MAX_WAIT = 2.0  # seconds for a request beside a count, on a busy machine; an edge waits as long

NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})",
    "postgresql": "WITH n(i) AS (SELECT generate_series(0, {last}))",
}
NAMES = {"sqlite": "printf('acct_%09d', {number})", "postgresql": "'acct_' || lpad(({number})::text, 9, '0')"}
HOLD_IDS = {
    "sqlite": "cast(printf('%016d', i) AS BLOB)",
    "postgresql": f"decode('{START_US // 1000:012x}' || lpad(to_hex(i), 20, '0'), 'hex')",
}


async def fill(database: Database) -> None:
    """ACCOUNTS accounts with EACH settled charges, each account with a key; the books balance."""
    kind = database.dialect
    accounts = NUMBERS[kind].format(last=ACCOUNTS - 1)
    charges = NUMBERS[kind].format(last=ACCOUNTS * EACH - 1)
    own, of_charge = NAMES[kind].format(number="i"), NAMES[kind].format(number=f"i / {EACH}")
    paid, rest = EACH * COST, 1_000_000 - EACH * COST
    for numbers, table, columns, values in (
        (
            accounts,
            "accounts",
            "id, balance, held, last_seq, last_admitted_us, version, requests_per_minute",
            f"{own}, {rest}, 0, {EACH}, 1, 1, 60",
        ),
        (
            accounts,
            "keys",
            "id, account_id, version, last_seq, last_admitted_us",
            f"'key-' || {own}, {own}, 1, 0, 0",
        ),
        (accounts, "key_months", "key_id, month, spent, held", f"'key-' || {own}, 202506, {paid}, 0"),
        (
            accounts,
            "usage_daily",
            "account_id, day, model, credits, requests, prompt_tokens, output_tokens",
            f"{own}, '2025-06-15', 'muh-chat', {paid}, {EACH}, 100, 100",
        ),
        (
            accounts,
            "ledger",
            "account_id, kind, credits, reference, reason, created_us, balance_after",
            f"{own}, 1, 1000000, {own}, '', 1, 1000000",
        ),
        (
            charges,
            "charges",
            "hold_id, account_id, key_id, session_id, seq, key_seq, model, state, input_price, output_price, choices,"
            " prompt_tokens, requested_tokens, max_tokens, covered_tokens, delivered_tokens, output_tokens, held,"
            " credits, uncollected, day, month, reserved_us, ended_us",
            f"{HOLD_IDS[kind]}, {of_charge}, 'key-' || {of_charge}, {SESSIONS[kind]}, i % {EACH} + 1, NULL, 'muh-chat',"
            f" 2, 1, 1, 1, 10, 10, 10, 10, 10, 10, 0, {COST}, 0, '2025-06-15', 202506, 1, 2",
        ),
        (
            charges,
            "ledger",
            "account_id, kind, credits, reference, reason, created_us, balance_after",
            f"{of_charge}, 3, -{COST}, 'charge', '', 1, 0",
        ),
    ):
        async with database.write(timeout=3600) as session:
            connection = await session.connection()
            raw = (await connection.get_raw_connection()).driver_connection
            statement = f"{numbers} INSERT INTO {table} ({columns}) SELECT {values} FROM n"
            if kind == "postgresql":
                assert raw is not None
                await raw.execute(statement, timeout=3600)
            else:
                await connection.execute(text(statement.replace(":", "\\:")))


SESSIONS = {"sqlite": "x'00'", "postgresql": "'\\x00'::bytea"}


@dataclass
class Beside:
    """Requests one after the other, until they are stopped; `slowest` is in seconds."""

    ledger: Ledger
    slowest: float = 0.0
    number: int = 0

    async def run(self) -> None:
        while True:
            began, name, made_us = time.monotonic(), f"r{self.number}", self.ledger.clock.now_us()
            reserved(await self.ledger.one(reserve(name, "acct_busy", rpm=10**6, made_us=made_us)))
            await self.ledger.one(Settle(hold_id(name, made_us), 5))
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.number += 1
            await asyncio.sleep(0.005)


@pytest.mark.timeout(3600)
async def test_large_books_are_counted_beside_requests(database_url: str, clock: FakeClock) -> None:
    async with opened(database_url, clock) as (database, store):
        ledger = Ledger(store, Reader(database), clock)
        await fill(database)
        if database.dialect == "postgresql":
            async with database.write(timeout=3600) as session:
                await session.execute(text("ANALYZE"))
        await ledger.one(Grant("busy", "acct_busy", 10**9))
        beside = Beside(ledger)
        requests = asyncio.create_task(beside.run())
        spans = []
        for full in (True, False, True):
            began, used = time.monotonic(), time.process_time()
            counted = await ledger.reader.recount(full=full)
            spans.append(time.monotonic() - began)
            sys.stderr.write(
                f"{database.dialect}: {'full' if full else 'next'} count of {ACCOUNTS} accounts and {CHARGES} charges:"
                f" {spans[-1]:.1f} s, {time.process_time() - used:.1f} s of CPU here,"
                f" slowest request beside it {beside.slowest * 1000:.0f} ms of {beside.number}\n"
            )
            assert counted.differences == []
            assert counted.accounts == ACCOUNTS + 1
            beside.slowest, slowest = 0.0, beside.slowest
            assert slowest < MAX_WAIT
        requests.cancel()
        await asyncio.gather(requests, return_exceptions=True)


@pytest.fixture
async def statements(postgres_url: str, clock: FakeClock) -> AsyncIterator[tuple[Ledger, list[str]]]:
    """Books on PostgreSQL that are large enough to be carried, and the statements that are executed from here on."""
    executed: list[str] = []
    async with opened(postgres_url, clock) as (database, store):
        await fill(database)
        ledger = Ledger(store, Reader(database), clock)
        await ledger.reader.recount(full=True)
        async with database.write() as session:
            await session.execute(text("UPDATE book_counts SET full_seconds = 3600"))
        for engine in (database.engine, database.patient_engine):
            event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: executed.append(given[2]))
        yield ledger, executed


async def test_carrying_sums_of_many_accounts_takes_few_statements(statements: tuple[Ledger, list[str]]) -> None:
    ledger, executed = statements
    counted = await ledger.reader.recount(full=True)
    assert counted.accounts == ACCOUNTS
    assert counted.differences == []
    assert any("INSERT INTO counted_keys" in each for each in executed)
    assert len(executed) < ACCOUNTS / 6
