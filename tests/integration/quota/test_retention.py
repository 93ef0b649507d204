"""Charges that are no longer kept: what they had cost is carried forward, and the books balance (G12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from servicekit.database.database import Database
from services.quota.domain.errors import CursorMalformed
from services.quota.domain.operations import Release, Settle
from services.quota.domain.outcomes import Reason, Refused, Released, Reserved, Settled
from services.quota.store.postgres.partitions import BUSY
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import Ledger, hold_id, opened, patiently, refused, reserve, reserved

DAY = 86_400
KEPT = 2  # whole months beside the current one


@dataclass
class Books(Ledger):
    """A ledger whose months can be let pass."""

    database: Database

    async def spend(self, name: str, account: str = "a", tokens: int = 5) -> bytes:
        """One request now, settled."""
        operation = reserve(name, account, made_us=self.clock.now_us())
        assert isinstance(await self.one(operation), Reserved)
        assert isinstance(await self.one(Settle(operation.hold_id, tokens)), Settled)
        return operation.hold_id

    async def do_housekeeping(self, months: int | None = KEPT) -> None:
        """Keeps house until nothing is left to do."""
        for _ in range(1000):
            pause = await self.store.do_housekeeping(months)
            if pause > BUSY:
                return
            await asyncio.sleep(min(pause, 0.09))
        raise AssertionError("never done")

    async def count(self) -> int:
        async with self.database.read() as session:
            rows = await session.exec(text("SELECT count(*) FROM charges"))  # type: ignore[call-overload]
            return int(rows.scalar_one())


@pytest.fixture
async def books(database_url: str, clock: FakeClock) -> AsyncIterator[Books]:
    async with opened(database_url, clock) as (database, store):
        yield Books(store, Reader(database), clock, database)


async def test_old_charges_go_and_everything_that_was_summed_up_stays(books: Books) -> None:
    await books.grant("a", 100_000)
    await books.grant("b", 100_000)
    for month in range(6):  # 15 June to 12 November
        await books.do_housekeeping(None)
        for number in range(3):
            await books.spend(f"{month}-{number}", "ab"[number % 2])
        books.clock.advance(30 * DAY)
    before = await books.reader.usage("a", "2025-01-01", "2025-12-31"), await books.money("a")
    assert await books.count() == 18
    await books.check()
    await books.do_housekeeping()  # in December: October and November are kept
    assert await books.count() == 6
    await books.check()
    assert (await books.reader.usage("a", "2025-01-01", "2025-12-31"), await books.money("a")) == before
    assert len(await books.reader.charges("a", 100, None)) == 4
    assert len(await books.reader.ledger("a", 100, None)) == 13  # a grant, and a line for every charge there ever was
    await books.spend("after")
    await books.do_housekeeping()
    await books.check()


async def test_a_page_that_ends_where_charges_are_no_longer_kept_is_the_last(books: Books) -> None:
    await books.grant("a", 1000)
    old = await books.spend("old")
    books.clock.advance(200 * DAY)
    await books.do_housekeeping(None)
    await books.spend("new")
    await books.do_housekeeping()
    assert await books.reader.charges("a", 10, old) == []
    for unknown in (b"\xff" * 16, hold_id("never", books.clock.now_us() + 90 * DAY * 1_000_000)):
        with pytest.raises(CursorMalformed):
            await books.reader.charges("a", 10, unknown)
    with pytest.raises(CursorMalformed):
        await books.reader.charges("b", 10, old)


async def test_an_open_hold_is_kept_however_old(books: Books) -> None:
    await books.grant("a", 1000)
    await books.spend("ended")
    open_hold = reserve("open")
    reserved(await books.one(open_hold))
    books.clock.advance(200 * DAY)
    await books.do_housekeeping()
    await books.check()
    assert (await books.money("a"))[1] == reserved(await books.one(open_hold)).covered_tokens * 3 + 10
    assert await books.one(Settle(open_hold.hold_id, 7)) == Settled(31)
    await books.do_housekeeping()
    assert await books.count() == 0
    await books.check()


async def test_a_request_by_an_id_that_is_no_longer_kept_gets_no_second_hold(books: Books) -> None:
    await books.grant("a", 1000)
    old = await books.spend("old")
    books.clock.advance(200 * DAY)
    await books.do_housekeeping()
    assert refused(await books.one(reserve("old"))) is Reason.INVALID
    assert refused(await books.one(Settle(old, 5))) is Reason.HOLD_ENDED
    assert await books.one(Release(old)) == Released()
    assert await books.count() == 0
    await books.check()


@pytest.mark.parametrize("days", [-2, 2, -20_000, 2_000_000])
async def test_an_id_more_than_a_day_from_now_is_refused_with_what_to_do(books: Books, days: int) -> None:
    await books.grant("a", 1000)
    operation = reserve("h", made_us=max(0, books.clock.now_us() + days * DAY * 1_000_000))
    outcome = await books.one(operation)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.INVALID
    assert "set the edge's clock" in outcome.detail
    assert await books.one(Release(operation.hold_id)) == Released()
    assert await books.count() == 0


async def test_requests_go_on_while_charges_are_dropped(books: Books) -> None:
    await books.grant("a", 1_000_000)
    for start in range(0, 3000, 50):
        names = [f"{start + number}" for number in range(50)]
        outcomes = await books.do(*(reserve(name, rpm=10_000) for name in names))
        assert all(isinstance(outcome, Reserved) for outcome in outcomes)
        await books.do(*(Settle(hold_id(name), 1) for name in names))
    books.clock.advance(200 * DAY)
    await books.do_housekeeping(None)
    done = asyncio.Event()
    served = 0

    async def client(number: int) -> None:
        nonlocal served
        while not done.is_set():
            operation = reserve(f"{number}-{served}", rpm=10_000, made_us=books.clock.now_us())
            assert isinstance((await patiently(books.store, operation))[0], Reserved)
            assert await patiently(books.store, Settle(operation.hold_id, 1)) == [Settled(13)]
            served += 1

    tasks = [asyncio.create_task(client(number)) for number in range(4)]
    await books.do_housekeeping()
    done.set()
    await asyncio.gather(*tasks)
    assert served
    assert await books.count() == served
    await books.check()
