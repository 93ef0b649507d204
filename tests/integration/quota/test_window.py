"""The rate window (G5) on SQLite and PostgreSQL, with a clock that the test moves."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from sqlalchemy import text

from common.hold_id import new_hold_id
from servicekit.database.database import Database
from services.quota.domain.operations import Grant, Reserve
from services.quota.domain.outcomes import (
    Limit,
    Reason,
    Refused,
    Reserved,
)
from tests.fakes import FakeClock
from tests.integration.quota.conftest import Ledger, hold_id, opened, refused, reserve, reserved


async def test_exactly_the_limit_is_admitted_in_any_sixty_seconds(ledger: Ledger) -> None:
    await ledger.grant("a", 100_000)
    for number in range(3):
        window = reserved(await ledger.one(reserve(f"h{number}", rpm=3))).window
        assert (window.limit, window.remaining, window.reset_us) == (3, 2 - number, 60_000_000)
        ledger.clock.advance(10)
    outcome = await ledger.one(reserve("h3", rpm=3))
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.retry_us) == (Reason.RATE_LIMITED, 30_000_000)
    assert outcome.window is not None
    assert (outcome.window.remaining, outcome.window.reset_us) == (0, 50_000_000)
    ledger.clock.advance(29.999999)
    assert refused(await ledger.one(reserve("h4", rpm=3))) is Reason.RATE_LIMITED
    ledger.clock.advance(0.000001)
    assert reserved(await ledger.one(reserve("h5", rpm=3))).window.remaining == 0
    assert refused(await ledger.one(reserve("h6", rpm=3))) is Reason.RATE_LIMITED


async def test_denied_requests_do_not_count_toward_the_window(ledger: Ledger) -> None:
    await ledger.grant("a", 13)
    for number in range(5):
        assert refused(await ledger.one(reserve(f"p{number}", prompt=50, rpm=2))) is Reason.INSUFFICIENT_CREDITS
    assert reserved(await ledger.one(reserve("h", rpm=2))).window.remaining == 1


async def test_a_burst_in_one_batch_admits_exactly_the_limit(ledger: Ledger) -> None:
    await ledger.grant("a", 1_000_000)
    outcomes = await ledger.do(*(reserve(f"h{number}") for number in range(64)))
    assert [isinstance(outcome, Reserved) for outcome in outcomes] == [True] * 60 + [False] * 4
    ledger.clock.advance(60)
    outcomes = await ledger.do(*(reserve(f"i{number}") for number in range(64)))
    assert sum(isinstance(outcome, Reserved) for outcome in outcomes) == 60
    await ledger.check()


async def test_a_changed_limit_holds_at_once_in_both_directions(ledger: Ledger) -> None:
    await ledger.grant("a", 1_000_000)
    await ledger.do(*(reserve(f"h{number}", rpm=5) for number in range(5)))
    assert refused(await ledger.one(reserve("x", rpm=5))) is Reason.RATE_LIMITED
    assert reserved(await ledger.one(reserve("y", rpm=8, version=2))).window.remaining == 2
    assert refused(await ledger.one(reserve("z", rpm=2, version=3))) is Reason.RATE_LIMITED


async def test_a_keys_own_limit_is_exact_too(ledger: Ledger) -> None:
    await ledger.grant("a", 1_000_000)
    for number in range(2):
        assert reserved(await ledger.one(reserve(f"h{number}", key="k", key_rpm=2))).window.limit == 2
        ledger.clock.advance(1)
    outcome = await ledger.one(reserve("x", key="k", key_rpm=2))
    assert isinstance(outcome, Refused)
    assert (outcome.retry_us, outcome.limit) == (58_000_000, Limit.KEY)
    assert isinstance(await ledger.one(reserve("y", key="other")), Reserved)
    ledger.clock.advance(58)
    assert reserved(await ledger.one(reserve("z", key="k", key_rpm=2))).window.remaining == 0


async def test_the_limit_that_is_full_for_longer_is_named_with_its_own_window(ledger: Ledger) -> None:
    await ledger.grant("a", 1_000_000)
    await ledger.one(reserve("h0", key="other", rpm=2))
    ledger.clock.advance(10)
    await ledger.one(reserve("h1", key="k", rpm=2, key_rpm=1))
    outcome = await ledger.one(reserve("x", key="k", rpm=2, key_rpm=1))
    assert isinstance(outcome, Refused)
    assert outcome.window is not None
    assert (outcome.limit, outcome.window.limit, outcome.retry_us) == (Limit.KEY, 1, 60_000_000)
    outcome = await ledger.one(reserve("y", key="other", rpm=2))
    assert isinstance(outcome, Refused)
    assert outcome.window is not None
    assert (outcome.limit, outcome.window.limit, outcome.retry_us) == (Limit.ACCOUNT, 2, 50_000_000)


async def test_a_clock_that_steps_back_admits_no_more(ledger: Ledger) -> None:
    await ledger.grant("a", 1_000_000)
    await ledger.do(*(reserve(f"h{number}", rpm=3) for number in range(3)))
    ledger.clock.advance(-30)
    outcome = await ledger.one(reserve("x", rpm=3))
    assert isinstance(outcome, Refused)
    assert outcome.retry_us == 60_000_000


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("dropped", [False, True])
async def test_a_fresh_store_serves_an_account_whose_limit_reaches_far_into_its_past(
    database_url: str, clock: FakeClock, keyed: bool, dropped: bool
) -> None:
    """5,000 requests over a month, 300 within the last minute, at a limit of 2,000: number n - limit is old."""
    limit = {"key_rpm": 2000, "rpm": 5000} if keyed else {"rpm": 2000}
    async with opened(database_url, clock) as (database, store):
        await store.apply([Grant("g", "a", 10**9)])
        await store.apply([reserve("first", **limit, made_us=clock.now_us())])
        await fill_history(database, old=4700, recent=300, now_us=clock.now_us(), drop=dropped)
    async with opened(database_url, clock) as (_, store):
        outcome = (await store.apply([reserve("x", **limit)]))[0]
        assert reserved(outcome).window.remaining == 2000 - 301
    async with opened(database_url, clock) as (_, store):
        batch = [reserve(f"b{number}", **limit) for number in range(64)]
        outcomes = [outcome for _ in range(27) for outcome in await store.apply(again(batch))]
        assert sum(isinstance(outcome, Reserved) for outcome in outcomes) == 2000 - 301


NUMBERS = itertools.count()


def again(batch: list[Reserve]) -> list[Reserve]:
    """The same reservations by new ids."""
    return [replace(each, hold_id=hold_id(f"n{next(NUMBERS)}")) for each in batch]


async def fill_history(database: Database, *, old: int, recent: int, now_us: int, drop: bool) -> None:
    """Settled charges of account a before its first one: `old` over the month before, `recent` a second ago."""
    total = old + recent
    async with database.write() as session:
        connection = await session.connection()
        first = (await connection.execute(text("SELECT * FROM charges"))).mappings().one()
        key_seq = "NULL" if first["key_seq"] is None else ":seq"
        await connection.execute(text("DELETE FROM charges"))
        insert = f"INSERT INTO charges ({', '.join(first)}) VALUES ({', '.join(f':{each}' for each in first)})"
        rows = []
        for seq in range(1, total + 1):
            at = now_us - 1_000_000 if seq > old else now_us - (old - seq) * 500_000_000 - 5 * 86_400_000_000
            if drop and seq <= old:
                continue
            rows.append(
                dict(first)
                | {
                    "hold_id": new_hold_id(at),
                    "seq": seq,
                    "state": 2,
                    "held": 0,
                    "reserved_us": at,
                    "ended_us": at,
                    "key_seq": None if key_seq == "NULL" else seq,
                }
            )
        await connection.execute(text(insert), rows)
        at = {"seq": total, "at": now_us - 1_000_000}
        await connection.execute(text("UPDATE accounts SET last_seq = :seq, last_admitted_us = :at, held = 0"), at)
        if key_seq != "NULL":
            await connection.execute(text("UPDATE keys SET last_seq = :seq, last_admitted_us = :at"), at)
