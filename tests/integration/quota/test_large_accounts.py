"""What one account with much history reads: usage of many models, and receipts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import opened
from tests.integration.quota.test_counting import many_charges
from tests.integration.quota.test_retention import Books

MODELS, DAYS = 1000, 30
MAX_CPU = 0.3  # seconds of this process for one answer; an object for each row took 0.7
TRIES = 5
PAGE = 20


@pytest.fixture
async def books(database_url: str, clock: FakeClock) -> AsyncIterator[Books]:
    async with opened(database_url, clock) as (database, store):
        yield Books(store, Reader(database), clock, database)


@pytest.fixture
async def postgres_books(postgres_url: str, clock: FakeClock) -> AsyncIterator[Books]:
    async with opened(postgres_url, clock) as (database, store):
        yield Books(store, Reader(database), clock, database)


async def test_usage_of_many_models_is_summed_up_by_the_database(books: Books) -> None:
    rows = [
        {"day": f"2025-06-{day:02d}", "model": f"model-{model:04d}", "credits": model}
        for day in range(1, DAYS + 1)
        for model in range(MODELS)
    ]
    async with books.database.write(timeout=60) as session:
        insert = (
            "INSERT INTO usage_daily (account_id, day, model, credits, requests, prompt_tokens, output_tokens)"
            " VALUES ('a', :day, :model, :credits, 2, 3, 4)"
        )
        await (await session.connection()).execute(text(insert), rows)
    spent = []
    for _ in range(TRIES):
        began = time.process_time()
        _, usage = await books.reader.usage("a", "2025-06-01", "2025-06-30")
        spent.append(time.process_time() - began)
    of_a_day = sum(range(MODELS))
    assert usage.days == [(f"2025-06-{day:02d}", of_a_day, 2 * MODELS) for day in range(1, DAYS + 1)]
    assert usage.models == [(f"model-{model:04d}", model * DAYS) for model in reversed(range(MODELS))]
    assert (usage.credits, usage.requests, usage.tokens) == (of_a_day * DAYS, 2 * MODELS * DAYS, 7 * MODELS * DAYS)
    assert min(spent) < MAX_CPU


async def test_a_page_of_receipts_is_as_quick_for_an_account_that_is_new_and_busy(postgres_books: Books) -> None:
    books = postgres_books
    for account in "abc":
        await books.grant(account, 10**9)
        await books.spend(f"first-{account}", account)
    for number in range(PAGE):
        await books.spend(f"b{number}", "b")
    async with books.database.write(timeout=60) as session:
        await (await session.connection()).execute(text("ANALYZE"))
    few = await seconds_of_a_page(books, "b")
    await many_charges(books, 12_000)
    assert await seconds_of_a_page(books, "a") < 5 * few


async def seconds_of_a_page(books: Books, account: str) -> float:
    """The quickest of some tries."""
    spent = []
    for _ in range(TRIES):
        began = time.monotonic()
        assert len(await books.reader.charges(account, PAGE, None)) == PAGE
        spent.append(time.monotonic() - began)
    return min(spent)
