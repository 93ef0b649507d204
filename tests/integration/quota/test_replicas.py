"""Two replicas on one PostgreSQL: what one remembers of an account never outlives the other's work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from services.quota.domain.operations import Expire, Grant, Operation, Progress, Release, Settle
from services.quota.domain.outcomes import Outcome, Progressed, Reason, Refused, Released, Reserved, Settled
from services.quota.store.postgres.replica_memory import MAX_ACCOUNTS, Memory
from services.quota.store.postgres.store import PostgresStore
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import hold_id, opened, refused, reserve, reserved

MINUTE = 60.0


@dataclass
class Replicas:
    """`one` and `other` answer a single operation each."""

    stores: tuple[PostgresStore, PostgresStore]
    reader: Reader
    clock: FakeClock

    async def one(self, *operations: Operation) -> Outcome:
        return (await self.stores[0].apply(operations))[-1]

    async def other(self, *operations: Operation) -> Outcome:
        return (await self.stores[1].apply(operations))[-1]


@pytest.fixture
async def replicas(postgres_url: str, clock: FakeClock) -> AsyncIterator[Replicas]:
    async with opened(postgres_url, clock) as (database, one), opened(postgres_url, clock) as (_, other):
        assert isinstance(one, PostgresStore)
        assert isinstance(other, PostgresStore)
        reader = Reader(database)
        yield Replicas((one, other), reader, clock)
        assert (await reader.recount()).differences == []


async def test_a_hold_that_only_the_other_has_moved_expires_at_what_the_other_wrote(replicas: Replicas) -> None:
    await replicas.one(Grant("g", "a", 1000))
    reserved(await replicas.one(reserve("h", max_tokens=30)))
    assert await replicas.one(Progress(hold_id("h"), 5)) == Progressed(30, limited=False)
    # No credit moves: the hold covers all that was asked. Only what was delivered changes.
    assert await replicas.other(Progress(hold_id("h"), 20)) == Progressed(30, limited=False)
    assert await replicas.one(Expire(hold_id("h"))) == Settled(10 + 20 * 3)


async def test_a_hold_that_the_other_has_ended_is_ended(replicas: Replicas) -> None:
    await replicas.one(Grant("g", "a", 1000))
    reserved(await replicas.one(reserve("settled")))
    reserved(await replicas.one(reserve("released")))
    assert await replicas.other(Settle(hold_id("settled"), 7)) == Settled(10 + 7 * 3)
    assert await replicas.other(Release(hold_id("released"))) == Released()
    assert refused(await replicas.one(Progress(hold_id("settled"), 8))) is Reason.HOLD_ENDED
    assert await replicas.one(Settle(hold_id("settled"), 50)) == Settled(10 + 7 * 3)
    assert await replicas.one(Settle(hold_id("released"), 50)) == Released()


async def test_admissions_of_the_other_count_in_the_window(replicas: Replicas) -> None:
    await replicas.one(Grant("g", "a", 100_000))
    for number in range(60):
        answer = await (replicas.one if number % 3 else replicas.other)(reserve(f"h{number}"))
        assert reserved(answer).window.remaining == 59 - number
        replicas.clock.advance(0.5)
    assert refused(await replicas.one(reserve("more"))) is Reason.RATE_LIMITED
    assert refused(await replicas.other(reserve("more"))) is Reason.RATE_LIMITED
    replicas.clock.advance(MINUTE - 30)
    reserved(await replicas.one(reserve("again")))
    assert refused(await replicas.other(reserve("and again"))) is Reason.RATE_LIMITED


async def test_a_window_longer_than_what_is_remembered_is_as_exact(replicas: Replicas) -> None:
    await replicas.one(Grant("g", "a", 10_000_000))
    names = [f"h{number}" for number in range(600)]
    for start in range(0, 600, 50):
        store = replicas.stores[start // 50 % 2]
        for answer in await store.apply([reserve(name, rpm=600) for name in names[start : start + 50]]):
            reserved(answer)
        replicas.clock.advance(1.0)
    for ask in (replicas.one, replicas.other):
        answer = await ask(reserve("more", rpm=600))
        assert isinstance(answer, Refused)
        assert answer.retry_us == (60 - 12) * 1_000_000
    replicas.clock.advance(48.0)
    assert reserved(await replicas.other(reserve("again", rpm=600))).window.remaining == 49


async def test_what_a_key_has_spent_at_the_other_counts_against_its_ceiling(replicas: Replicas) -> None:
    await replicas.one(Grant("g", "a", 100_000))
    reserved(await replicas.one(reserve("first", max_tokens=10, ceiling=100)))
    assert await replicas.other(Settle(hold_id("first"), 10)) == Settled(40)
    answer = reserved(await replicas.one(reserve("second", ceiling=100)))
    assert answer.max_tokens == (60 - 10) // 3
    assert refused(await replicas.other(reserve("third", ceiling=100))) is Reason.KEY_LIMIT_REACHED


async def test_a_limit_that_the_other_has_heard_of_holds_here_too(replicas: Replicas) -> None:
    await replicas.one(Grant("g", "a", 100_000))
    reserved(await replicas.one(reserve("first", key_rpm=5, ceiling=5000)))
    reserved(await replicas.other(reserve("second", key_rpm=2, ceiling=5000, version=2)))
    assert refused(await replicas.one(reserve("third", key_rpm=5, ceiling=5000))) is Reason.RATE_LIMITED
    replicas.clock.advance(MINUTE)
    window = reserved(await replicas.one(reserve("fourth", key_rpm=5, ceiling=5000))).window
    assert (window.limit, window.remaining) == (2, 1)


async def test_a_batch_that_fails_leaves_nothing_remembered(replicas: Replicas) -> None:
    await replicas.one(Grant("g", "a", 1000))
    reserved(await replicas.one(reserve("h", max_tokens=30)))
    # The other knows nothing of "h" being reserved here, so its batch breaks on the primary key.
    with pytest.raises(Exception, match="charges_202506_pkey"):
        await replicas.other(reserve("new"), reserve("h", max_tokens=30))
    assert isinstance(await replicas.other(reserve("h", max_tokens=30)), Reserved)
    assert await replicas.other(Settle(hold_id("h"), 30)) == Settled(100)
    assert reserved(await replicas.one(reserve("after"))).window.remaining == 58


async def test_what_is_remembered_is_bounded(postgres_url: str, clock: FakeClock) -> None:
    memory = Memory()
    async with opened(postgres_url, clock, memory=memory) as (_, store):
        for start in range(0, MAX_ACCOUNTS + 100, 2000):
            await store.apply([Grant(f"g{n}", f"a{n}", 1) for n in range(start, start + 2000)])
    assert len(memory) == MAX_ACCOUNTS
