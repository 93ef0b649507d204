"""The rate window (G5) on SQLite and PostgreSQL, with a clock that the test moves."""

from __future__ import annotations

from services.quota.domain.outcomes import (
    Reason,
    Refused,
    Reserved,
)
from tests.integration.quota.conftest import Ledger, refused, reserve, reserved


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
    assert outcome.retry_us == 58_000_000
    assert isinstance(await ledger.one(reserve("y", key="other")), Reserved)
    ledger.clock.advance(58)
    assert reserved(await ledger.one(reserve("z", key="k", key_rpm=2))).window.remaining == 0


async def test_a_clock_that_steps_back_admits_no_more(ledger: Ledger) -> None:
    await ledger.grant("a", 1_000_000)
    await ledger.do(*(reserve(f"h{number}", rpm=3) for number in range(3)))
    ledger.clock.advance(-30)
    outcome = await ledger.one(reserve("x", rpm=3))
    assert isinstance(outcome, Refused)
    assert outcome.retry_us == 60_000_000
