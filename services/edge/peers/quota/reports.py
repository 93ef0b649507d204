"""What quota reports of an account: its usage and its receipts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from muhgpt.quota.v1 import quota_pb2

ReceiptState = Literal["held", "settled", "released", "expired"]
_STATES: dict[int, ReceiptState] = {
    quota_pb2.Charge.STATE_HELD: "held",
    quota_pb2.Charge.STATE_SETTLED: "settled",
    quota_pb2.Charge.STATE_RELEASED: "released",
    quota_pb2.Charge.STATE_EXPIRED: "expired",
}


@dataclass(frozen=True, slots=True)
class SpentDay:
    """One UTC day, YYYY-MM-DD, with at least one charged request."""

    day: str
    credits: int
    requests: int


@dataclass(frozen=True, slots=True)
class SpentModel:
    """What one model cost."""

    model: str
    credits: int


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """The balance, and what a range of days cost: in all, by day (oldest first), by model (most credits first)."""

    balance: int
    credits: int
    tokens: int
    requests: int
    days: tuple[SpentDay, ...] = ()
    models: tuple[SpentModel, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """One charge. Times are Unix seconds, prices credits for a million tokens."""

    id: str
    state: ReceiptState
    created: int
    ended: int | None
    key_id: str
    model: str
    prompt_tokens: int
    output_tokens: int
    input_price: int
    output_price: int
    credits: int
    uncollected_credits: int
    refunded_credits: int
    estimated: bool


@dataclass(frozen=True, slots=True)
class ReceiptPage:
    """Receipts, newest first."""

    receipts: tuple[Receipt, ...] = ()
    more: bool = False  # there are older ones


def to_usage(message: quota_pb2.GetUsageResponse) -> AccountUsage:
    """The usage."""
    totals = message.totals
    return AccountUsage(
        message.balance,
        totals.credits,
        totals.tokens,
        totals.requests,
        tuple(SpentDay(each.day, each.credits, each.requests) for each in message.days),
        tuple(SpentModel(each.model, each.credits) for each in message.models),
    )


def to_page(message: quota_pb2.ListChargesResponse) -> ReceiptPage:
    """The receipts."""
    return ReceiptPage(tuple(_receipt(charge) for charge in message.charges), bool(message.next_page_token))


def _receipt(charge: quota_pb2.Charge) -> Receipt:
    return Receipt(
        id=charge.hold_id.hex(),
        state=_STATES[charge.state],
        created=charge.reserved_at.seconds,
        ended=charge.ended_at.seconds if charge.HasField("ended_at") else None,
        key_id=charge.key_id,
        model=charge.model,
        prompt_tokens=charge.prompt_tokens,
        output_tokens=charge.output_tokens,
        input_price=charge.input_price,
        output_price=charge.output_price,
        credits=charge.credits,
        uncollected_credits=charge.uncollected_credits,
        refunded_credits=charge.refunded_credits,
        estimated=charge.estimated,
    )
