"""The loss book: what the rules in favour of clients cost the operator, and the bound on it."""

from __future__ import annotations

from services.quota.domain.operations import Confirm, Progress, RefundAnswer, Release, Settle
from services.quota.domain.outcomes import Reason, Refused
from services.quota.domain.records import LossDelta
from services.quota.running.guard import Guard, look_at_losses
from tests.integration.quota.conftest import Ledger, hold_id, judged, refused, reserve, reserved

DAY = 86_400
EVER = ("2000-01-01", "2100-01-01")


async def losses(ledger: Ledger, account: str = "") -> dict[tuple[str, str], LossDelta]:
    rows = await ledger.reader.losses(account, *EVER, 100, 0)
    return {
        (row.day, row.account_id): LossDelta(
            row.uncollected, row.estimate_minus_usage, row.answer_refunds, row.retry_refunds, row.abandoned
        )
        for row in rows
    }


async def test_each_kind_of_loss_is_kept_by_account_and_day(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await ledger.grant("b", 10 + 3 * 5)
    await ledger.one(reserve("left", prompt=17))
    await ledger.one(Release(hold_id("left"), abandoned=True))
    await ledger.one(reserve("died"))
    await ledger.one(Settle(hold_id("died"), 20, unconfirmed=True))
    await ledger.one(RefundAnswer(hold_id("died")))
    await ledger.one(reserve("over", "b"))
    await ledger.one(Settle(hold_id("over"), 9))
    today = (await ledger.reader.charge(hold_id("died")))[0].day
    assert await losses(ledger) == {
        (today, "a"): LossDelta(answer_refunds=70, abandoned=17),
        (today, "b"): LossDelta(uncollected=12),
    }
    assert list(await losses(ledger, "b")) == [(today, "b")]
    ledger.clock.advance(DAY)
    later = reserve("left2", made_us=ledger.clock.now_us())
    await ledger.do(later, Release(later.hold_id, abandoned=True))
    assert [each.abandoned for each in (await losses(ledger, "a")).values()] == [10, 17]  # the newest day first
    await ledger.check()


async def test_what_costs_the_operator_nothing_is_no_loss(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await ledger.do(reserve("h"), Settle(hold_id("h"), 20, unconfirmed=True), Confirm(hold_id("h")))
    await ledger.do(reserve("r"), Release(hold_id("r")))
    assert await losses(ledger) == {}


async def test_an_estimate_is_compared_with_what_the_engine_counted_once(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await ledger.one(reserve("low", prompt=10, estimated=True))
    await ledger.one(Progress(hold_id("low"), 1, 0, 16))
    await ledger.one(Settle(hold_id("low"), 2, 16))
    await ledger.one(reserve("high", prompt=30, estimated=True))
    await ledger.one(Settle(hold_id("high"), 2, 21, estimated=False))
    assert [each.estimate_minus_usage for each in (await losses(ledger)).values()] == [-6 + 9]


async def test_an_account_above_the_bound_is_refused_until_the_day_ends_or_it_is_forgiven(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    guard = Guard(ledger.clock)
    await ledger.do(reserve("h", prompt=30), Release(hold_id("h"), abandoned=True))
    await look_at_losses(ledger.reader, guard, ledger.clock, 30)
    reserved(await ledger.one(judged(guard, reserve("at-bound"))))
    await look_at_losses(ledger.reader, guard, ledger.clock, 29)
    outcome = await ledger.one(judged(guard, reserve("above")))
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.LOSSES_TOO_HIGH
    rest_us = outcome.retry_us or 0
    assert 0 < rest_us <= DAY * 1_000_000
    reserved(await ledger.one(judged(guard, reserve("at-bound"))))  # the replay of what was admitted
    await ledger.grant("b", 1000)
    reserved(await ledger.one(judged(guard, reserve("other", "b"))))

    assert await ledger.store.forgive_losses("a") == 30
    assert await ledger.store.forgive_losses("nobody") == 0
    await look_at_losses(ledger.reader, guard, ledger.clock, 29)
    reserved(await ledger.one(judged(guard, reserve("forgiven"))))
    await ledger.do(reserve("again", prompt=30), Release(hold_id("again"), abandoned=True))
    await look_at_losses(ledger.reader, guard, ledger.clock, 29)
    assert refused(await ledger.one(judged(guard, reserve("above again")))) is Reason.LOSSES_TOO_HIGH

    ledger.clock.advance(rest_us / 1e6)
    reserved(await ledger.one(judged(guard, reserve("tomorrow", made_us=ledger.clock.now_us()))))
