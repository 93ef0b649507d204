"""Grants, refunds, usage, receipts and the ledger on SQLite and PostgreSQL."""

from __future__ import annotations

from services.quota.domain.operations import Grant, Refund, Settle
from services.quota.domain.outcomes import (
    Balanced,
    Reason,
    Settled,
)
from tests.integration.quota.conftest import Ledger, hold_id, refused, reserve


async def test_grants_and_refunds_are_idempotent_by_their_ids(ledger: Ledger) -> None:
    for _ in range(2):
        assert await ledger.one(Grant("g", "a", 100)) == Balanced(100)
    assert refused(await ledger.one(Grant("g", "a", 101))) is Reason.ID_REUSED
    assert refused(await ledger.one(Grant("g", "b", 100))) is Reason.ID_REUSED
    for _ in range(2):
        assert await ledger.one(Refund("r", "a", 30)) == Balanced(70)
    assert await ledger.money() == (70, 0)
    await ledger.check()


async def test_a_refund_takes_only_what_no_hold_covers(ledger: Ledger) -> None:
    await ledger.grant("a", 300)
    await ledger.one(reserve("h"))
    assert refused(await ledger.one(Refund("r", "a", 99))) is Reason.INSUFFICIENT_CREDITS
    assert await ledger.one(Refund("s", "a", 98)) == Balanced(202)
    assert await ledger.one(Settle(hold_id("h"), 64)) == Settled(202)
    await ledger.check()


async def test_usage_counts_by_the_day_and_model_of_the_reservation(ledger: Ledger) -> None:
    await ledger.grant("a", 100_000)
    await ledger.one(reserve("h1"))
    ledger.clock.advance(86_400)
    await ledger.one(Settle(hold_id("h1"), 10))
    await ledger.do(reserve("h2"), Settle(hold_id("h2"), 20))
    balance, usage = await ledger.reader.usage("a", "2025-06-15", "2025-06-16")
    assert balance.balance == 100_000 - 40 - 70
    assert usage.days == [("2025-06-15", 40, 1), ("2025-06-16", 70, 1)]
    assert (usage.credits, usage.tokens, usage.requests, usage.models) == (110, 50, 2, [("muh-chat", 110)])
    _, nothing = await ledger.reader.usage("b", "2025-06-15", "2025-06-16")
    assert nothing.requests == 0


async def test_receipts_and_ledger_are_listed_newest_first(ledger: Ledger) -> None:
    await ledger.grant("a", 100_000)
    for name in ("h1", "h2", "h3"):
        await ledger.do(reserve(name), Settle(hold_id(name), 1))
    charges = await ledger.reader.charges("a", 2, None)
    assert [charge.id for charge in charges] == [hold_id("h3"), hold_id("h2")]
    rest = await ledger.reader.charges("a", 2, charges[-1].id)
    assert [charge.id for charge in rest] == [hold_id("h1")]
    entries = await ledger.reader.ledger("a", 10, None)
    assert [entry.credits for entry in entries] == [-13, -13, -13, 100_000]
