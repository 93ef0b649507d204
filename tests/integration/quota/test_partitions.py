"""Partitions of charges in PostgreSQL: made ahead, crossed at the month's end, dropped under load, never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import pytest

from common.hold_id import new_hold_id
from servicekit.clock import to_microseconds
from services.quota.domain.operations import Grant, Progress, Reserve, Settle
from services.quota.domain.outcomes import Progressed, Reserved, Settled
from services.quota.store.postgres.partitions import BUSY, DONE
from services.quota.store.postgres.store import PostgresStore
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import opened, patiently, reserve, reserved

DAY = 86_400


def instant(text: str) -> int:
    return to_microseconds(datetime.fromisoformat(text).replace(tzinfo=UTC))


@dataclass
class World:
    """Two replicas on one database, and a connection to look at it."""

    stores: list[PostgresStore]
    reader: Reader
    clock: FakeClock
    connection: asyncpg.Connection

    async def partitions(self) -> dict[str, int]:
        """Each with its rows."""
        rows = await self.connection.fetch(
            "SELECT tableoid::regclass::text AS name, count(*) AS n FROM charges GROUP BY 1"
        )
        names = await self.connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'charges'::regclass"
        )
        return {row["name"]: 0 for row in names} | {row["name"]: row["n"] for row in rows}

    async def tidied(self) -> None:
        """Keeps house, one month beside the current, until nothing is left to do."""
        for _ in range(1000):
            pause = await self.stores[0].do_housekeeping(1)
            if pause == DONE:
                return
            await asyncio.sleep(min(pause, 0.05))
        raise AssertionError("never done")

    async def request(self, account: str, *, tokens: int = 40, between: float = 0.0) -> None:
        """A whole life, each step at either replica, with time passing between."""
        hold_id = new_hold_id(self.clock.now_us())
        operation = Reserve(
            hold_id, b"s" * 16, account, f"k-{account}", "m", reserve("x").price, 10, 100, 1, 1, 1, 10**6
        )
        steps = [operation, Progress(hold_id, 30), Settle(hold_id, tokens)]
        for number, (step, kind) in enumerate(zip(steps, (Reserved, Progressed, Settled), strict=True)):
            outcome = (await patiently(self.stores[(hash(hold_id) + number) % 2], step))[0]
            assert isinstance(outcome, kind), outcome
            self.clock.advance(between)


@pytest.fixture
async def world(postgres_url: str) -> AsyncIterator[World]:
    clock = FakeClock(instant("2026-01-30T12:00:00"))
    async with opened(postgres_url, clock) as (database, one), opened(postgres_url, clock) as (_, other):
        assert isinstance(one, PostgresStore)
        assert isinstance(other, PostgresStore)
        connection = await asyncpg.connect(postgres_url)
        yield World([one, other], Reader(database), clock, connection)
        await connection.close()
        assert (await Reader(database).recount()).differences == []


async def test_partitions_are_made_for_this_month_and_two_more(world: World) -> None:
    assert {"charges_202601", "charges_202602", "charges_202603"} <= (await world.partitions()).keys()
    world.clock.advance(3 * DAY)
    assert "charges_202604" not in await world.partitions()
    assert [await store.do_housekeeping(None) for store in world.stores] == [DONE, DONE]
    assert "charges_202604" in await world.partitions()


async def test_a_month_that_ends_under_load_loses_nothing(world: World) -> None:
    """Holds begin in one month and end in the next; batches hold ids of both."""
    world.clock.advance((instant("2026-01-31T23:59:30") - world.clock.now_us()) / 1e6)
    accounts = [f"a{number}" for number in range(8)]
    await world.stores[0].apply([Grant(f"g-{each}", each, 10**6) for each in accounts])

    async def client(account: str) -> None:
        for _ in range(40):
            await world.request(account, between=0.1)

    await asyncio.gather(*(client(each) for each in accounts))
    rows = await world.partitions()
    assert rows["charges_202601"] > 0
    assert rows["charges_202602"] > 0
    assert rows["charges_202601"] + rows["charges_202602"] == 8 * 40
    for each in accounts:
        assert (await world.reader.balance(each)).balance == 10**6 - 40 * (10 + 40 * 3)
    months = await world.connection.fetch("SELECT month, sum(spent)::int AS spent FROM key_months GROUP BY 1")
    assert sum(row["spent"] for row in months) == 8 * 40 * (10 + 40 * 3)


async def test_a_batch_with_holds_of_two_months_settles_both(world: World) -> None:
    world.clock.advance((instant("2026-01-31T23:59:59") - world.clock.now_us()) / 1e6)
    store = world.stores[0]
    ids = []
    await store.apply([Grant("g", "a", 10_000)])
    for _ in range(2):
        operation = reserve("x", made_us=world.clock.now_us())
        reserved((await store.apply([operation]))[0])
        ids.append(operation.hold_id)
        world.clock.advance(2)
    assert await store.apply([Settle(each, 1) for each in ids]) == [Settled(13), Settled(13)]
    rows = await world.partitions()
    assert (rows["charges_202601"], rows["charges_202602"]) == (1, 1)


async def test_the_window_is_exact_across_the_months_end_and_a_restart(world: World, postgres_url: str) -> None:
    world.clock.advance((instant("2026-01-31T23:59:40") - world.clock.now_us()) / 1e6)
    await world.stores[0].apply([Grant("g", "a", 10**6)])
    for _ in range(6):
        reserved(
            (
                await world.stores[0].apply(
                    [reserve(str(world.clock.now_us())[-9:], rpm=6, made_us=world.clock.now_us())]
                )
            )[0]
        )
        world.clock.advance(6)
    async with opened(postgres_url, world.clock) as (_, fresh):  # remembers nothing
        outcome = (await fresh.apply([reserve("more", rpm=6, made_us=world.clock.now_us())]))[0]
        assert (outcome.retry_us, outcome.window.remaining) == (24_000_000, 0)  # type: ignore[union-attr]
        world.clock.advance(24)
        reserved((await fresh.apply([reserve("again", rpm=6, made_us=world.clock.now_us())]))[0])


async def test_without_a_partition_for_the_month_requests_are_served_from_the_default_one(world: World) -> None:
    await world.stores[0].apply([Grant("g", "a", 10**6)])
    world.clock.advance((instant("2026-09-30T23:59:59") - world.clock.now_us()) / 1e6)  # nobody kept house since
    for _ in range(20):
        await world.request("a", between=0.2)
    assert (await world.partitions())["charges_default"] == 20
    await world.stores[0].do_housekeeping(None)
    rows = await world.partitions()
    # The months that have begun there stay there; the next ones are made.
    assert {"charges_202609", "charges_202610", "charges_202611"} & rows.keys() == {"charges_202611"}
    await world.request("a")
    assert (await world.partitions())["charges_default"] == 21
    world.clock.advance(100 * DAY)
    await world.tidied()
    assert (await world.partitions())["charges_default"] == 0


async def test_a_long_transaction_of_another_makes_housekeeping_wait_and_not_the_requests(world: World) -> None:
    """Such as a dump of the database: it holds a lock on every table for as long as it takes."""
    await world.stores[0].apply([Grant("g", "a", 10**6)])
    await world.request("a")
    world.clock.advance(150 * DAY)
    await world.stores[0].do_housekeeping(None)
    async with world.connection.transaction(isolation="repeatable_read"):
        await world.connection.fetch("SELECT count(*) FROM charges")
        passes = [asyncio.create_task(store.do_housekeeping(1)) for store in world.stores]
        await asyncio.gather(*(world.request("a") for _ in range(20)))
        assert sorted(await asyncio.gather(*passes)) in ([BUSY, BUSY], [BUSY, DONE])
    assert "charges_202601" in await world.partitions()
    await world.tidied()
    assert "charges_202601" not in await world.partitions()


async def test_a_drop_that_was_interrupted_after_the_seal_is_finished_later(world: World) -> None:
    await world.stores[0].apply([Grant("g", "a", 10**6)])
    await world.request("a")
    await world.connection.execute(
        "ALTER TABLE charges_202601 ADD CONSTRAINT charges_202601_sealed CHECK (false) NOT VALID"
    )
    world.clock.advance(150 * DAY)
    await world.tidied()
    assert "charges_202601" not in await world.partitions()
    carried = await world.connection.fetchval("SELECT sum(credits)::int FROM carried_forward")
    assert carried == 10 + 40 * 3
