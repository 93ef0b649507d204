"""What every store must do, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from servicekit.clock import SystemClock
from servicekit.database.database import Database, open_database
from servicekit.errors import StartupError
from services.quota.domain.operations import Expire, Grant, Progress, Release, Settle
from services.quota.domain.outcomes import (
    Limit,
    Progressed,
    Reason,
    Refused,
    Released,
    Reserved,
    Settled,
)
from services.quota.domain.pricing import Price
from services.quota.main import opened
from services.quota.settings import QuotaSettings
from services.quota.store.postgres.store import PostgresStore
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import MIGRATIONS, SESSION, Ledger, hold_id, refused, reserve, reserved
from tests.integration.quota.conftest import opened as opened_at


async def test_a_hold_covers_the_prompt_and_a_window_and_settles_to_the_cost(ledger: Ledger) -> None:
    await ledger.grant("a", 10_000)
    outcome = reserved(await ledger.one(reserve("h")))
    assert (outcome.max_tokens, outcome.covered_tokens) == (100, 64)
    assert await ledger.money() == (10_000, 10 + 64 * 3)
    assert await ledger.one(Settle(hold_id("h"), 20)) == Settled(70)
    assert await ledger.money() == (9_930, 0)
    await ledger.check()


async def test_progress_slides_the_hold_ahead_and_never_past_what_was_asked(ledger: Ledger) -> None:
    await ledger.grant("a", 10_000)
    await ledger.one(reserve("h", max_tokens=100))
    assert await ledger.one(Progress(hold_id("h"), 30)) == Progressed(94, limited=False)
    assert await ledger.one(Progress(hold_id("h"), 90)) == Progressed(100, limited=False)
    assert await ledger.money() == (10_000, 310)
    await ledger.check()


async def test_what_is_generated_but_not_delivered_moves_the_hold_and_is_not_charged_when_the_edge_is_lost(
    ledger: Ledger,
) -> None:
    await ledger.grant("a", 10_000)
    await ledger.one(reserve("h", max_tokens=300))
    assert await ledger.one(Progress(hold_id("h"), 0, 50)) == Progressed(114, limited=False)
    assert await ledger.one(Progress(hold_id("h"), 20, 60)) == Progressed(124, limited=False)
    assert refused(await ledger.one(Progress(hold_id("h"), 20, 125))) is Reason.INVALID
    assert await ledger.one(Expire(hold_id("h"))) == Settled(70)
    await ledger.check()


async def test_max_tokens_is_clipped_to_what_the_balance_can_pay(ledger: Ledger) -> None:
    await ledger.grant("a", 10 + 3 * 7 + 2)
    outcome = reserved(await ledger.one(reserve("h")))
    assert (outcome.max_tokens, outcome.covered_tokens) == (7, 7)
    await ledger.check()


@pytest.mark.parametrize(("credits", "admitted"), [(12, False), (13, True), (9, False), (0, False)])
async def test_402_only_when_prompt_and_one_token_cannot_be_paid(ledger: Ledger, credits: int, admitted: bool) -> None:
    await ledger.grant("a", credits)
    outcome = await ledger.one(reserve("h"))
    if admitted:
        assert reserved(outcome).max_tokens == 1
    else:
        assert refused(outcome) is Reason.INSUFFICIENT_CREDITS
        assert await ledger.money() == (credits, 0)
    await ledger.check()


async def test_parallel_requests_share_what_is_left_until_the_hold_cannot_slide(ledger: Ledger) -> None:
    await ledger.grant("a", 400)
    assert reserved(await ledger.one(reserve("h1", max_tokens=1000))).covered_tokens == 64
    second = reserved(await ledger.one(reserve("h2", max_tokens=1000)))
    assert second.covered_tokens == (400 - 202 - 10) // 3
    assert await ledger.one(Progress(hold_id("h1"), 64)) == Progressed(64, limited=True)
    await ledger.one(Settle(hold_id("h2"), 1))
    assert await ledger.one(Progress(hold_id("h1"), 64)) == Progressed(125, limited=True)
    await ledger.check()


async def test_no_output_means_no_charge_not_for_the_prompt_either(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await ledger.one(reserve("h"))
    assert await ledger.one(Settle(hold_id("h"), 0)) == Released()
    assert await ledger.money() == (1000, 0)
    _, usage = await ledger.reader.usage("a", "2000-01-01", "2100-01-01")
    assert usage.requests == 0


async def test_what_lies_beyond_the_hold_is_recorded_as_uncollected(ledger: Ledger) -> None:
    await ledger.grant("a", 10 + 3 * 5)
    await ledger.one(reserve("h"))
    assert await ledger.one(Settle(hold_id("h"), 9)) == Settled(25, uncollected=12)
    assert await ledger.money() == (0, 0)
    await ledger.check()


async def test_every_operation_repeated_returns_the_first_answer_and_changes_nothing(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    first = reserved(await ledger.one(reserve("h")))
    again = reserved(await ledger.one(reserve("h")))
    assert (first.max_tokens, first.covered_tokens) == (again.max_tokens, again.covered_tokens)
    assert again.window.remaining == 59
    for _ in range(2):
        assert await ledger.one(Progress(hold_id("h"), 10)) == Progressed(74, limited=False)
    for _ in range(2):
        assert await ledger.one(Settle(hold_id("h"), 11)) == Settled(43)
    assert refused(await ledger.one(reserve("h"))) is Reason.HOLD_ENDED
    assert refused(await ledger.one(Progress(hold_id("h"), 12))) is Reason.HOLD_ENDED
    assert await ledger.one(Release(hold_id("h"))) == Settled(43)
    assert await ledger.money() == (957, 0)
    await ledger.check()


async def test_a_whole_life_fits_in_one_batch(ledger: Ledger) -> None:
    outcomes = await ledger.do(
        Grant("g", "a", 1000), reserve("h"), Progress(hold_id("h"), 5), Settle(hold_id("h"), 6), Settle(hold_id("h"), 6)
    )
    assert outcomes[-1] == outcomes[-2] == Settled(28)
    assert await ledger.money() == (972, 0)
    await ledger.check()


async def test_the_same_hold_id_for_another_request_is_an_error(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await ledger.grant("b", 1000)
    await ledger.one(reserve("h"))
    assert refused(await ledger.one(reserve("h", "b"))) is Reason.HOLD_CONFLICT
    assert refused(await ledger.one(reserve("h", prompt=11))) is Reason.HOLD_CONFLICT
    assert await ledger.money("b") == (1000, 0)


async def test_a_release_before_its_reserve_keeps_the_reserve_from_coming_to_life(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    assert await ledger.one(Release(hold_id("h"))) == Released()
    assert refused(await ledger.one(reserve("h"))) is Reason.HOLD_ENDED
    assert await ledger.money() == (1000, 0)


async def test_an_expired_hold_pays_the_committed_progress(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await ledger.one(reserve("h"))
    await ledger.one(Progress(hold_id("h"), 40))
    assert await ledger.one(Expire(hold_id("h"))) == Settled(130)
    assert await ledger.one(Settle(hold_id("h"), 60)) == Settled(130)
    assert await ledger.money() == (870, 0)
    await ledger.check()


async def test_holds_lapse_with_their_sessions_lease(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await ledger.store.renew(SESSION, "edge", 15.0)
    await ledger.do(reserve("h1"), reserve("h2", session=b"another-session-"))
    assert await ledger.store.lapsed(10) == [hold_id("h2")]
    ledger.clock.advance(14)
    await ledger.store.renew(SESSION, "edge", 15.0)
    ledger.clock.advance(14)
    assert await ledger.store.lapsed(10) == [hold_id("h2")]
    ledger.clock.advance(2)
    assert set(await ledger.store.lapsed(10)) == {hold_id("h1"), hold_id("h2")}


async def test_a_key_ceiling_holds_and_a_newer_version_replaces_it(ledger: Ledger) -> None:
    await ledger.grant("a", 100_000)
    assert reserved(await ledger.one(reserve("h1", ceiling=100))).covered_tokens == 30
    over = await ledger.one(reserve("h2", ceiling=100))
    assert refused(over) is Reason.KEY_LIMIT_REACHED
    assert isinstance(over, Refused)
    assert over.limit is Limit.MONTH
    await ledger.one(Settle(hold_id("h1"), 30))
    assert refused(await ledger.one(reserve("h3", ceiling=100))) is Reason.KEY_LIMIT_REACHED
    assert reserved(await ledger.one(reserve("h4", ceiling=200, version=2))).covered_tokens == 30
    assert refused(await ledger.one(reserve("h5", ceiling=10_000, version=1))) is Reason.KEY_LIMIT_REACHED
    assert isinstance(await ledger.one(reserve("h6", key="other")), Reserved)
    await ledger.check()


async def test_a_ceiling_belongs_to_the_month_of_the_reservation(ledger: Ledger) -> None:
    await ledger.grant("a", 100_000)
    await ledger.one(reserve("h1", ceiling=100))
    ledger.clock.advance(40 * 86_400)
    await ledger.one(Settle(hold_id("h1"), 30))
    later = reserve("h2", ceiling=100, made_us=ledger.clock.now_us())
    assert reserved(await ledger.one(later)).covered_tokens == 30
    await ledger.check()


async def test_choices_share_the_window_of_a_hold(ledger: Ledger) -> None:
    await ledger.grant("a", 10 + 3 * 2)
    outcome = reserved(await ledger.one(reserve("h", choices=4)))
    assert (outcome.max_tokens, outcome.covered_tokens) == (1, 2)
    await ledger.grant("b", 100_000)
    outcome = reserved(await ledger.one(reserve("i", "b", choices=4, max_tokens=10)))
    assert (outcome.max_tokens, outcome.covered_tokens) == (10, 40)


async def test_a_model_that_costs_nothing_needs_no_balance(ledger: Ledger) -> None:
    await ledger.grant("a", 0)
    assert reserved(await ledger.one(reserve("h", price=Price(0, 0)))).max_tokens == 100
    assert await ledger.one(Settle(hold_id("h"), 50)) == Settled(0)
    await ledger.check()


async def test_postgresql_decides_by_its_own_clock_when_no_test_gives_one(postgres_url: str) -> None:
    async with open_database(postgres_url, migrations=MIGRATIONS) as database:
        store = await PostgresStore.open(database.url)
        ledger = Ledger(store, Reader(database), FakeClock())
        await ledger.grant("a", 100_000)
        limited = partial(reserve, ceiling=300, key_rpm=3, made_us=SystemClock().now_us())
        began_us = SystemClock().now_us()
        for name in ("h1", "h2"):
            pair = limited(name), reserve(f"{name}-other", "a", key="k", made_us=SystemClock().now_us())
            assert all(isinstance(outcome, Reserved) for outcome in await ledger.do(*pair))
            assert await ledger.do(Settle(pair[0].hold_id, 30), Settle(pair[1].hold_id, 1)) == [
                Settled(100),
                Settled(13),
            ]
        assert reserved(await ledger.one(limited("h3"))).covered_tokens == 30
        outcome = await ledger.one(limited("h4"))
        assert isinstance(outcome, Refused)
        assert outcome.reason is Reason.RATE_LIMITED
        taken_us = SystemClock().now_us() - began_us
        assert 60_000_000 - taken_us <= (outcome.retry_us or 0) <= 60_000_000
        await ledger.check()
        await store.close()


async def test_sessions_that_lapsed_a_day_ago_are_forgotten_and_their_holds_are_not(
    database_url: str, clock: FakeClock
) -> None:
    async with opened_at(database_url, clock) as (database, store):
        ledger = Ledger(store, Reader(database), clock)
        await ledger.grant("a", 100_000)
        await store.renew(SESSION, "edge", 15.0)
        await ledger.one(reserve("h"))
        clock.advance(15 + 86_400)
        await store.renew(b"another-session-", "edge", 15.0)
        await store.do_housekeeping(None)
        assert await sessions(database) == {SESSION, b"another-session-"}
        clock.advance(1)
        await store.do_housekeeping(None)
        assert await sessions(database) == {b"another-session-"}
        assert await store.lapsed(10) == [hold_id("h")]
        assert await ledger.one(Progress(hold_id("h"), 30)) == Progressed(94, limited=False)


async def sessions(database: Database) -> set[bytes]:
    async with database.engine.connect() as connection:
        return {bytes(row[0]) for row in await connection.exec_driver_sql("SELECT id FROM sessions")}


async def test_a_start_against_a_postgresql_that_stops_answering_says_so(postgres_url: str) -> None:
    settings = QuotaSettings(listen="127.0.0.1:0", database_url=postgres_url)
    async with open_database(postgres_url, migrations=MIGRATIONS) as database, database.engine.connect() as other:
        await other.exec_driver_sql("LOCK TABLE pg_inherits IN ACCESS EXCLUSIVE MODE")  # where partitions are looked up
        with pytest.raises(StartupError, match="MUHGPT_QUOTA_DATABASE_URL: the database does not answer"):
            async with opened(settings):
                raise AssertionError("it started")


async def test_many_batches_at_once_never_overspend_or_admit_too_many(ledger: Ledger) -> None:
    """16 tasks race for 1,000 credits and 60 places; on PostgreSQL they are really concurrent transactions."""
    await ledger.grant("a", 1000)
    admitted = 0

    async def client(number: int) -> None:
        nonlocal admitted
        for turn in range(8):
            name = f"{number}-{turn}"
            outcome = await ledger.one(reserve(name, max_tokens=5))
            if isinstance(outcome, Reserved):
                admitted += 1
                await ledger.one(Settle(hold_id(name), 5))
            balance, held = await ledger.money()
            assert 0 <= held <= balance

    await asyncio.gather(*(client(number) for number in range(16)))
    # 25 credits each: 40 fit.
    assert admitted == 40
    assert await ledger.money() == (0, 0)
    await ledger.check()
