"""Whole answers: charged before they are written, and given back when their edge dies before it confirms them (G3)."""

from __future__ import annotations

import pytest

from services.quota.domain.operations import Confirm, Expire, Progress, RefundAnswer, Release, Settle
from services.quota.domain.outcomes import Confirmed, Progressed, Reason, Released, Settled
from services.quota.domain.records import EntryKind
from services.quota.running.group_commit import Writer
from services.quota.running.sweeper import CONFIRMATION_GRACE, refund_unconfirmed
from services.quota.store.reading.reader import Usage
from tests.integration.quota.conftest import SESSION, Ledger, hold_id, refused, reserve, reserved, running

NOTHING_USED = Usage(0, 0, 0, [], [])
LEASE = 10.0


async def charged(ledger: Ledger, name: str = "h", tokens: int = 20, **fields: object) -> bytes:
    """A whole answer that is settled and not confirmed: 10 + 3 credits a token."""
    await ledger.store.renew(SESSION, "edge", LEASE)
    reserved(await ledger.one(reserve(name, **fields)))  # type: ignore[arg-type]
    settle = Settle(hold_id(name), tokens, unconfirmed=True)
    assert await ledger.one(settle) == Settled(10 + 3 * tokens)
    return hold_id(name)


async def receipt(ledger: Ledger, hold: bytes) -> tuple[int, int, bool]:
    row, _ = await ledger.reader.charge(hold)
    return row.credits, row.refunded, row.unconfirmed


async def test_an_unconfirmed_charge_is_given_back_whole_once_its_session_is_gone(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    hold = await charged(ledger)
    assert await ledger.money() == (930, 0)
    ledger.clock.advance(LEASE + CONFIRMATION_GRACE - 1)
    assert await ledger.store.unconfirmed(CONFIRMATION_GRACE, 10) == []
    ledger.clock.advance(2)
    assert await ledger.store.unconfirmed(CONFIRMATION_GRACE, 10) == [hold]
    assert await ledger.one(RefundAnswer(hold)) == Settled(70)
    assert await ledger.money() == (1000, 0)
    assert await receipt(ledger, hold) == (0, 70, False)
    assert (await ledger.reader.usage("a", "2000-01-01", "2100-01-01"))[1] == NOTHING_USED
    entries = [(each.kind, each.credits, each.reference) for each in await ledger.reader.ledger("a", 2, None)]
    assert entries == [(EntryKind.ANSWER_REFUND, 70, hold.hex()), (EntryKind.CHARGE, -70, hold.hex())]
    assert await ledger.store.unconfirmed(CONFIRMATION_GRACE, 10) == []
    await ledger.check()


async def test_after_a_refund_every_operation_changes_nothing_and_gives_the_first_answer(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    hold = await charged(ledger)
    for _ in range(2):
        assert await ledger.one(RefundAnswer(hold)) == Settled(70)
        assert await ledger.one(Confirm(hold)) == Confirmed(refunded=70)
        assert await ledger.one(Settle(hold, 20)) == Settled(70)
        assert await ledger.one(Settle(hold, 20, unconfirmed=True)) == Settled(70)
        assert await ledger.one(Expire(hold)) == Settled(70)
        assert await ledger.one(Release(hold)) == Settled(70)
    assert await ledger.money() == (1000, 0)
    await ledger.check()


@pytest.mark.parametrize("confirmation", [Confirm(hold_id("h")), Settle(hold_id("h"), 20)])
async def test_a_confirmed_charge_stands_whatever_becomes_of_its_session(
    ledger: Ledger, confirmation: Confirm | Settle
) -> None:
    """A Settle that is repeated without the mark is the replay of an edge that wrote the answer meanwhile."""
    await ledger.grant("a", 1000)
    hold = await charged(ledger)
    for _ in range(2):
        assert await ledger.one(confirmation) in (Confirmed(), Settled(70))
    ledger.clock.advance(LEASE + CONFIRMATION_GRACE + 1)
    assert await ledger.store.unconfirmed(CONFIRMATION_GRACE, 10) == []
    assert await ledger.one(RefundAnswer(hold)) == Settled(70)
    assert await receipt(ledger, hold) == (70, 0, False)
    await ledger.check()


async def test_a_session_that_is_taken_up_again_keeps_its_charges(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await charged(ledger)
    ledger.clock.advance(LEASE + CONFIRMATION_GRACE + 1)
    await ledger.store.renew(SESSION, "edge", LEASE)
    assert await ledger.store.unconfirmed(CONFIRMATION_GRACE, 10) == []


async def test_a_refund_gives_back_a_ceiling_of_a_month_that_is_over(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    hold = await charged(ledger, tokens=30, ceiling=100)
    assert refused(await ledger.one(reserve("full", ceiling=100))) is Reason.KEY_LIMIT_REACHED
    ledger.clock.advance(40 * 86_400)
    await ledger.one(RefundAnswer(hold))
    await ledger.check()  # key months against charges
    assert await ledger.money() == (1000, 0)


async def test_a_refund_makes_room_under_the_ceiling_of_the_running_month(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    hold = await charged(ledger, tokens=30, ceiling=100)
    await ledger.one(RefundAnswer(hold))
    assert reserved(await ledger.one(reserve("next", ceiling=100))).covered_tokens == 30
    await ledger.check()


async def test_an_answer_without_output_is_released_and_awaits_nothing(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await ledger.one(reserve("h"))
    assert await ledger.one(Settle(hold_id("h"), 0, unconfirmed=True)) == Released()
    assert await ledger.one(Confirm(hold_id("h"))) == Confirmed()
    assert await ledger.one(RefundAnswer(hold_id("h"))) == Released()
    await ledger.check()


async def test_a_confirmation_of_what_was_not_settled_is_refused(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    assert refused(await ledger.one(Confirm(hold_id("h")))) is Reason.HOLD_ENDED
    await ledger.one(reserve("h"))
    assert refused(await ledger.one(Confirm(hold_id("h")))) is Reason.INVALID


async def test_reserve_settle_and_confirm_fit_in_one_batch(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    hold = hold_id("h")
    outcomes = await ledger.do(reserve("h"), Settle(hold, 20, unconfirmed=True), Confirm(hold), RefundAnswer(hold))
    assert outcomes[1:] == [Settled(70), Confirmed(), Settled(70)]
    assert await receipt(ledger, hold) == (70, 0, False)
    await ledger.check()


async def test_retention_never_drops_an_unconfirmed_charge_and_carries_refunds_forward(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    waiting = await charged(ledger, "waiting")
    refunded = await charged(ledger, "refunded")
    await ledger.one(RefundAnswer(refunded))
    for _ in range(4):
        ledger.clock.advance(31 * 86_400)
        for _ in range(10):
            await ledger.store.do_housekeeping(1)
    assert await receipt(ledger, waiting) == (70, 0, True)
    await ledger.check()
    assert await ledger.one(RefundAnswer(waiting)) == Settled(70)
    for _ in range(10):
        await ledger.store.do_housekeeping(1)
    assert await ledger.reader.charges("a", 10, None) == []
    assert await ledger.money() == (1000, 0)
    await ledger.check()


async def test_the_sweeper_refunds_what_a_lost_edge_did_not_confirm_and_nothing_else(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    writer = Writer(ledger.store.apply, shards=1, observe=lambda _: None)
    await charged(ledger, "lost")
    confirmed = await charged(ledger, "confirmed")
    await ledger.one(Confirm(confirmed))
    ledger.clock.advance(LEASE + CONFIRMATION_GRACE + 1)
    async with running(writer):
        assert await refund_unconfirmed(ledger.store, writer) == 1
        assert await refund_unconfirmed(ledger.store, writer) == 0
    assert await ledger.money() == (930, 0)
    await ledger.check()


async def test_a_prompt_that_the_engine_counts_higher_is_held_before_it_is_charged(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await ledger.one(reserve("h", max_tokens=20))
    assert await ledger.money() == (1000, 70)
    assert await ledger.one(Progress(hold_id("h"), 0, 0, 40)) == Progressed(20, limited=False)
    assert await ledger.money() == (1000, 100)
    assert await ledger.one(Progress(hold_id("h"), 0, 0, 30)) == Progressed(20, limited=False)  # never down
    reserved(await ledger.one(reserve("h", max_tokens=20)))  # a replay of the reservation is still one
    assert await ledger.one(Settle(hold_id("h"), 20, 40)) == Settled(100)
    await ledger.check()


async def test_what_is_not_free_for_a_higher_prompt_is_uncollected_and_never_charged(ledger: Ledger) -> None:
    await ledger.grant("a", 85)
    await ledger.one(reserve("h", max_tokens=20))
    assert await ledger.one(Progress(hold_id("h"), 20, 0, 40)) == Progressed(20, limited=False)
    assert await ledger.money() == (85, 85)
    assert await ledger.one(Settle(hold_id("h"), 20, 40)) == Settled(85, uncollected=15)
    assert await ledger.money() == (0, 0)
    await ledger.check()


async def test_a_receipt_says_whether_its_counts_are_estimates(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    for name, estimate, told in (("e", True, None), ("x", True, False), ("l", False, True)):
        operation = reserve(name, estimated=estimate)
        await ledger.one(operation)
        await ledger.one(Settle(hold_id(name), 1, estimated=told))
    rows = [await ledger.reader.charge(hold_id(name)) for name in "exl"]
    assert [row.estimated for row, _ in rows] == [True, False, True]
