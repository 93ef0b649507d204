"""A clock that is set (case B6): the rate window and leases, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from services.quota.domain.outcomes import Reason, Refused, Reserved
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import SESSION, Ledger, hold_id, opened, refused, reserve, reserved

MINUTE_US = 60_000_000
ERRORS = [150.0, 3600.0]  # seconds that the clock was wrong by


def name(number: int) -> str:
    return f"h{number}"


async def full(ledger: Ledger, *, key_rpm: int | None = None) -> None:
    """An account that is at its limit of three, or whose key is."""
    await ledger.grant("a", 1_000_000)
    rpm = 60 if key_rpm else 3
    for number in range(3):
        made_us = ledger.clock.now_us()
        reserved(await ledger.one(reserve(name(number), rpm=rpm, key_rpm=key_rpm, made_us=made_us)))


@pytest.mark.parametrize("ahead", ERRORS)
@pytest.mark.parametrize("key_rpm", [None, 3])
async def test_a_clock_that_was_ahead_costs_an_account_a_minute_at_most(
    ledger: Ledger, ahead: float, key_rpm: int | None
) -> None:
    ledger.clock.set(ahead)
    await full(ledger, key_rpm=key_rpm)
    ledger.clock.set(-ahead)
    rpm = 60 if key_rpm else 3
    outcome = await ledger.one(reserve("x", rpm=rpm, key_rpm=key_rpm))
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.retry_us) == (Reason.RATE_LIMITED, MINUTE_US)
    ledger.clock.advance(20)
    outcome = await ledger.one(reserve("y", rpm=rpm, key_rpm=key_rpm))
    assert isinstance(outcome, Refused)
    assert outcome.retry_us == 40_000_000
    ledger.clock.advance(40)
    assert reserved(await ledger.one(reserve("z", rpm=rpm, key_rpm=key_rpm))).window.remaining == 2
    await ledger.check()


@pytest.mark.parametrize("ahead", ERRORS)
async def test_after_a_restart_the_correction_still_holds(database_url: str, clock: FakeClock, ahead: float) -> None:
    clock.set(ahead)
    async with opened(database_url, clock) as (database, store):
        await full(Ledger(store, Reader(database), clock), key_rpm=3)
    clock.set(-ahead)
    for number in range(3):
        async with opened(database_url, clock) as (_, store):
            assert refused((await store.apply([reserve(f"x{number}", key_rpm=3)]))[0]) is Reason.RATE_LIMITED
        clock.advance(19)
    clock.advance(3)
    for number in range(3):  # with a window of its own again
        async with opened(database_url, clock) as (_, store):
            assert isinstance((await store.apply([reserve(f"y{number}", key_rpm=3)]))[0], Reserved)
    async with opened(database_url, clock) as (_, store):
        outcome = (await store.apply([reserve("z", key_rpm=3)]))[0]
        assert isinstance(outcome, Refused)
        assert outcome.retry_us == MINUTE_US


async def test_an_account_that_asks_long_after_the_correction_does_not_wait(ledger: Ledger) -> None:
    ledger.clock.set(3600)
    await full(ledger)
    ledger.clock.set(-3600)
    await ledger.store.lapsed(1)  # the sweeper looks every two seconds
    ledger.clock.advance(61)
    assert reserved(await ledger.one(reserve("x", rpm=3))).window.remaining == 2


async def test_a_key_made_after_the_correction_has_its_own_window(ledger: Ledger) -> None:
    ledger.clock.set(150)
    await full(ledger)
    ledger.clock.set(-150)
    refused(await ledger.one(reserve("x", rpm=3)))
    ledger.clock.advance(70)
    for number in range(2):
        reserved(await ledger.one(reserve(f"k{number}", rpm=60, key="new", key_rpm=2, version=2)))
    outcome = await ledger.one(reserve("k2", rpm=60, key="new", key_rpm=2, version=2))
    assert isinstance(outcome, Refused)
    assert outcome.retry_us == MINUTE_US


async def test_a_clock_that_is_set_back_again_and_again_never_refuses_for_longer(ledger: Ledger) -> None:
    await ledger.grant("a", 1_000_000)
    for number in range(5):
        ledger.clock.set(150)
        reserved(await ledger.one(reserve(f"a{number}", rpm=1, made_us=ledger.clock.now_us())))
        ledger.clock.set(-150)
        assert refused(await ledger.one(reserve(f"b{number}", rpm=1))) is Reason.RATE_LIMITED
        ledger.clock.advance(60)


@pytest.mark.parametrize("behind", ERRORS)
async def test_a_clock_that_was_behind_ends_nobodys_hold(ledger: Ledger, behind: float) -> None:
    await ledger.grant("a", 10_000)
    await ledger.store.renew(SESSION, "edge", 10)
    reserved(await ledger.one(reserve("h")))
    assert await ledger.store.lapsed(10) == []
    ledger.clock.set(behind)
    assert await ledger.store.lapsed(10) == []
    ledger.clock.advance(3)
    await ledger.store.renew(SESSION, "edge", 10)  # the edge's next heartbeat
    ledger.clock.advance(8)
    assert await ledger.store.lapsed(10) == []
    ledger.clock.advance(3)
    assert await ledger.store.lapsed(10) == [hold_id("h")]


@pytest.mark.parametrize("ahead", ERRORS)
async def test_a_clock_that_was_ahead_keeps_no_dead_edges_hold(ledger: Ledger, ahead: float) -> None:
    ledger.clock.set(ahead)
    await ledger.grant("a", 10_000)
    await ledger.store.renew(SESSION, "edge", 10)
    reserved(await ledger.one(reserve("h", made_us=ledger.clock.now_us())))
    made_us = ledger.clock.now_us()
    assert await ledger.store.lapsed(10) == []
    ledger.clock.set(-ahead)
    assert await ledger.store.lapsed(10) == []
    ledger.clock.advance(11)
    assert await ledger.store.lapsed(10) == [hold_id("h", made_us)]
