"""The books as metrics: what is open, how old it is, what expired, and differences once they are there."""

from __future__ import annotations

import asyncio
from math import isnan

from prometheus_client import REGISTRY
from sqlalchemy import text

from services.quota.running.books_metrics import count_books, look_at_holds
from services.quota.running.group_commit import Writer
from services.quota.running.sweeper import sweep
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import SESSION, Ledger, opened, reserve


def told(name: str) -> float:
    """A metric's value now."""
    value = REGISTRY.get_sample_value(f"muhgpt_quota_{name}")
    assert value is not None
    return value


async def test_open_holds_are_told_with_the_age_of_the_oldest(ledger: Ledger) -> None:
    await look_at_holds(ledger.reader, ledger.clock)
    assert (told("holds_open"), told("oldest_hold_age_seconds")) == (0, 0)
    await ledger.grant("a", 10_000)
    await ledger.one(reserve("first"))
    ledger.clock.advance(7)
    await ledger.one(reserve("second"))
    await look_at_holds(ledger.reader, ledger.clock)
    assert (told("holds_open"), told("oldest_hold_age_seconds")) == (2, 7)


async def test_holds_that_lapse_are_counted_once(ledger: Ledger) -> None:
    await ledger.grant("a", 10_000)
    await ledger.store.renew(SESSION, "edge", 10)
    await ledger.one(reserve("lost"))
    ledger.clock.advance(11)
    before = told("holds_expired_total")
    writer = Writer(ledger.store.apply, shards=1, observe=lambda _: None)
    writing = asyncio.create_task(writer.run())
    assert await sweep(ledger.store, writer) == 1
    assert await sweep(ledger.store, writer) == 0
    writing.cancel()
    assert told("holds_expired_total") == before + 1


async def test_books_that_differ_are_told(database_url: str, clock: FakeClock) -> None:
    async with opened(database_url, clock) as (database, store):
        ledger = Ledger(store, Reader(database), clock)
        await ledger.grant("a", 10_000)
        await count_books(ledger.reader, clock)
        assert (told("books_differences"), told("balance_credits")) == (0, 10_000)
        assert told("books_checked_timestamp_seconds") == clock.now_us() / 1e6
        async with database.write() as session:
            await (await session.connection()).execute(text("UPDATE accounts SET balance = balance + 1"))
        await count_books(ledger.reader, clock)
        assert told("books_differences") == 1
        assert not isnan(told("books_check_seconds"))
