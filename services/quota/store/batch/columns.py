"""Columns in the order of the records' fields, so that a row becomes a record and back without naming each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from services.quota.domain.records import (
    Account,
    Hold,
    Key,
    KeyMonth,
    LedgerEntry,
    LossDelta,
    State,
    UsageByDelta,
    UsageDelta,
)

FLAGS = {"new", "dirty"}


def _columns(record: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record) if field.name not in FLAGS)


ACCOUNT = _columns(Account)
KEY = _columns(Key)
MONTH = _columns(KeyMonth)
LEDGER = _columns(LedgerEntry)
CHARGE = ("hold_id", *_columns(Hold)[1:])
# What changes after a hold was made.
CHARGE_CHANGES = (
    "state",
    "prompt_tokens",
    "covered_tokens",
    "delivered_tokens",
    "output_tokens",
    "held",
    "credits",
    "uncollected",
    "ended_us",
    "unconfirmed",
    "refunded",
    "estimated",
    "units",
    "cached_tokens",
    "cached_price",
    "produced",
    "end_reason",
    "first_token_ms",
)
CHARGE_WRITTEN = (*CHARGE_CHANGES, "hold_id")
# Columns of charges that are for receipts and reports only, and never go from a value back to none.
SPARSE = frozenset(
    (
        *("endpoint", "member_id", "units", "cached_tokens", "cached_price"),
        *("end_reason", "first_token_ms", "request_id", "idempotency"),
    )
)
LOSSES = ("account_id", "day", *_columns(LossDelta))
# Losses that an account can bring about, as a bound on them counts (quota.proto, LossDay).
COUNTED_LOSSES = "(uncollected + answer_refunds + retry_refunds + abandoned)"
USAGE = ("account_id", "day", "model", *_columns(UsageDelta))
USAGE_BY_KEY = ("account_id", "day", "model", "endpoint", "key_id", "member_id")
USAGE_BY = (*USAGE_BY_KEY, *_columns(UsageByDelta))

account_values = attrgetter(*ACCOUNT)
account_changes = attrgetter(*ACCOUNT[1:], "id")
key_values = attrgetter(*KEY)
month_values = attrgetter(*MONTH)
month_changes = attrgetter("spent", "held", "ceiling", "key_id", "month")
ledger_values = attrgetter(*LEDGER)
loss_values = attrgetter(*LOSSES[2:])
usage_values = attrgetter(*USAGE[3:])
usage_by_values = attrgetter(*USAGE_BY[6:])
charge_values = attrgetter("id", *CHARGE[1:])
charge_changes = attrgetter(*CHARGE_CHANGES, "id")


def hold_of(row: Sequence[Any]) -> Hold:
    """A row of charges, its columns in the order of CHARGE, as a record."""
    hold = Hold(*row)
    hold.state = State(hold.state)
    hold.unconfirmed, hold.estimated = bool(hold.unconfirmed), bool(hold.estimated)  # SQLite has 0 and 1
    if hold.produced is not None:
        hold.produced = bool(hold.produced)
    return hold
