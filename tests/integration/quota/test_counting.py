"""Counting the books (G12): every difference is found wherever it lies, and requests go on meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from services.quota.domain.operations import Settle
from services.quota.domain.outcomes import Reserved
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import opened, patiently, reserve
from tests.integration.quota.test_retention import DAY, Books

LARGE = "UPDATE book_counts SET full_seconds = 3600, full_us = :now"
# Each place in which the books can be wrong, and the check that says so.
CORRUPTIONS = {
    "UPDATE accounts SET balance = balance + 1 WHERE id = 'a'": "balance = sum of ledger",
    "UPDATE accounts SET held = held + 1 WHERE id = 'a'": "held = sum of open holds",
    "UPDATE usage_daily SET credits = credits + 1 WHERE account_id = 'a'": "usage = sum of charges",
    "UPDATE key_months SET spent = spent + 1 WHERE key_id = 'key-of-a'": "key months = sum of charges",
    "DELETE FROM key_months WHERE key_id = 'key-of-a'": "key months = sum of charges",
    "DELETE FROM usage_daily WHERE account_id = 'a'": "usage = sum of charges",
    "DELETE FROM accounts WHERE id = 'a'": "balance = sum of ledger",
    "DELETE FROM keys WHERE id = 'key-of-a'": "key months = sum of charges",
}
OF_LINES = {
    "UPDATE ledger SET credits = credits - 1 WHERE id = (SELECT {which}(id) FROM ledger WHERE kind = 3)": (
        "charged in ledger = sum of charges"
    ),
    "DELETE FROM ledger WHERE id = (SELECT {which}(id) FROM ledger WHERE kind = 3)": "balance = sum of ledger",
    "UPDATE ledger SET kind = 5 WHERE id = (SELECT {which}(id) FROM ledger WHERE kind = 3)": (
        "answers refunded in ledger = sum of charges"
    ),
    "UPDATE charges SET credits = credits + 1 WHERE seq = (SELECT {which}(seq) FROM charges)": "usage = sum of charges",
    "UPDATE charges SET refunded = 1 WHERE seq = (SELECT {which}(seq) FROM charges)": (
        "answers refunded in ledger = sum of charges"
    ),
    "DELETE FROM charges WHERE seq = (SELECT {which}(seq) FROM charges)": "usage = sum of charges",
    "UPDATE charges SET month = 190001 WHERE seq = (SELECT {which}(seq) FROM charges)": "key months = sum of charges",
}
STRAYS = {
    "INSERT INTO ledger (account_id, kind, credits, reference, reason, created_us, balance_after)"
    " VALUES ('nobody', 1, 5, 'x', '', 0, 0)": "balance = sum of ledger",
    "INSERT INTO carried_forward (account_id, key_id, month, credits) VALUES ('nobody', 'k', 202501, 5)": (
        "usage = sum of charges"
    ),
    "INSERT INTO key_months (key_id, month, spent, held) VALUES ('nobody', 202501, 5, 0)": (
        "key months = sum of charges"
    ),
}


@pytest.fixture
async def books(database_url: str, clock: FakeClock) -> AsyncIterator[Books]:
    """An account with twenty charges, another with one and an open hold."""
    async with opened(database_url, clock) as (database, store):
        books = Books(store, Reader(database), clock, database)
        await books.grant("a", 10**9)
        await books.grant("b", 10**9)
        for number in range(20):
            await books.spend(f"h{number}")
        await books.spend("other", "b")
        yield books


async def change(books: Books, statement: str, **parameters: int) -> None:
    async with books.database.write() as session:
        await (await session.connection()).execute(text(statement), parameters)


async def found(books: Books, *, full: bool = False) -> set[str]:
    """The checks that differ."""
    return {each.check for each in (await books.reader.recount(full=full)).differences}


async def carried(books: Books) -> int:
    """How many accounts' sums are carried to the next count."""
    async with books.database.read() as session:
        return int((await (await session.connection()).execute(text("SELECT count(*) FROM counted"))).scalar_one())


async def make_large(books: Books) -> None:
    """The next count takes what it can from the one before, as in books that take an hour to count."""
    assert await found(books) == set()
    await change(books, LARGE, now=time.time_ns() // 1000)
    assert await found(books) == set()
    assert await carried(books) == 1


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("statement", CORRUPTIONS)
async def test_a_sum_that_is_wrong_is_found(books: Books, statement: str, large: bool) -> None:
    if large:
        await make_large(books)
    await change(books, statement)
    assert CORRUPTIONS[statement] in await found(books)
    assert CORRUPTIONS[statement] in await found(books)  # and stays found


@pytest.mark.parametrize("which", ["min", "max"])
@pytest.mark.parametrize("statement", OF_LINES)
async def test_a_line_that_is_wrong_is_found_in_books_that_are_counted_in_seconds(
    books: Books, statement: str, which: str
) -> None:
    await change(books, statement.format(which=which))
    assert OF_LINES[statement] in await found(books)


@pytest.mark.parametrize("statement", OF_LINES)
async def test_in_large_books_a_new_line_that_is_wrong_is_found_by_any_count(books: Books, statement: str) -> None:
    await make_large(books)
    await books.spend("new")
    await change(books, statement.format(which="max"))
    assert OF_LINES[statement] in await found(books)


@pytest.mark.parametrize("statement", OF_LINES)
async def test_in_large_books_an_old_line_that_is_wrong_is_found_by_a_full_count(books: Books, statement: str) -> None:
    await make_large(books)
    await change(books, statement.format(which="min"))
    assert OF_LINES[statement] in await found(books, full=True)
    assert OF_LINES[statement] in await found(books)  # nothing of it is carried


async def test_large_books_are_counted_in_full_once_a_day(books: Books) -> None:
    await make_large(books)
    await change(books, next(iter(OF_LINES)).format(which="min"))
    assert await found(books) == set()
    await change(books, LARGE, now=time.time_ns() // 1000 - 90_000_000_000)
    assert await found(books) != set()


@pytest.mark.parametrize("statement", STRAYS)
async def test_lines_of_accounts_that_are_not_there_are_found(books: Books, statement: str) -> None:
    await change(books, statement)
    assert STRAYS[statement] in await found(books)


@pytest.mark.parametrize("large", [False, True])
async def test_requests_beside_a_count_make_no_difference(books: Books, large: bool) -> None:
    if large:
        await make_large(books)
    stopped = asyncio.Event()

    async def spend(account: str) -> None:
        number = 0
        while not stopped.is_set():
            operation = reserve(f"{account}{number}", account, rpm=10**6, version=2, made_us=books.clock.now_us())
            assert isinstance((await patiently(books.store, operation))[0], Reserved)
            await patiently(books.store, Settle(operation.hold_id, 5))
            books.clock.advance(1)
            number += 1

    async with asyncio.TaskGroup() as group:
        for account in "ab":
            group.create_task(spend(account))
        for _ in range(30):
            assert await found(books) == set()
        stopped.set()
    assert (await books.reader.recount(full=True)).differences == []


async def test_charges_that_are_dropped_make_no_difference_to_what_is_carried(books: Books) -> None:
    await make_large(books)
    books.clock.advance(100 * DAY)
    await books.do_housekeeping()
    assert await books.count() == 0
    await books.spend("new")
    assert await found(books) == set()
    assert (await books.reader.recount(full=True)).differences == []


async def test_an_account_with_many_lines_is_carried_in_slices(books: Books) -> None:
    await many_charges(books, 12_000)
    assert await found(books) == set()
    assert await carried(books) == 1
    await change(books, "UPDATE charges SET credits = credits + 1 WHERE seq = 3000 AND account_id = 'a'")
    assert "usage = sum of charges" in await found(books)


async def many_charges(books: Books, count: int) -> None:
    """More charges of account a, all like its first, in bulk."""
    async with books.database.write(timeout=60) as session:
        connection = await session.connection()
        row = (
            (await connection.execute(text("SELECT * FROM charges WHERE account_id = 'a' AND seq = 1")))
            .mappings()
            .one()
        )
        names = ", ".join(row)
        rows = [
            dict(row) | {"hold_id": row["hold_id"][:6] + seq.to_bytes(10, "big"), "seq": seq}
            for seq in range(21, 21 + count)
        ]
        await connection.execute(
            text(f"INSERT INTO charges ({names}) VALUES ({', '.join(f':{name}' for name in row)})"), rows
        )
        lines = [{"cost": -row["credits"], "reference": each["hold_id"].hex()} for each in rows]
        insert = (
            "INSERT INTO ledger (account_id, kind, credits, reference, reason, created_us, balance_after)"
            " VALUES ('a', 3, :cost, :reference, '', 0, 0)"
        )
        await connection.execute(text(insert), lines)
        more = {"more": count * row["credits"], "last": 20 + count}
        for statement in (
            "INSERT INTO ledger (account_id, kind, credits, reference, reason, created_us, balance_after)"
            " VALUES ('a', 1, :more, 'more', '', 0, 0)",
            "UPDATE accounts SET last_seq = :last WHERE id = 'a'",
            "UPDATE usage_daily SET credits = credits + :more WHERE account_id = 'a'",
            "UPDATE key_months SET spent = spent + :more WHERE key_id = 'key-of-a'",
        ):
            wanted = {name: value for name, value in more.items() if f":{name}" in statement}
            await connection.execute(text(statement), wanted)
