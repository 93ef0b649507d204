"""What a decided batch has to write, as rows by kind, in the order in which they are to be written."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from services.quota.domain.records import Books
from services.quota.store.batch import columns


class Change(enum.Enum):
    """A kind of row to write; each store has one statement for each."""

    NEW_ACCOUNT = "new_account"
    ACCOUNT = "account"
    KEY = "key"
    NEW_MONTH = "new_month"
    MONTH = "month"
    NEW_CHARGE = "new_charge"
    CHARGE = "charge"
    ENTRY = "entry"
    USAGE = "usage"
    USAGE_BY = "usage_by"
    LOSS = "loss"


def changes_of(books: Books) -> dict[Change, list[tuple[Any, ...]]]:
    """The rows of every kind that the batch changed; kinds without any are left out."""
    accounts = [each for each in books.accounts.values() if each.dirty]
    months = [each for each in books.months.values() if each.dirty]
    holds = [each for each in books.holds.values() if each.dirty]
    rows = {
        Change.NEW_ACCOUNT: [columns.account_values(each) for each in accounts if each.new],
        Change.ACCOUNT: [columns.account_changes(each) for each in accounts if not each.new],
        Change.KEY: [columns.key_values(each) for each in books.keys.values() if each.dirty],
        Change.NEW_MONTH: [columns.month_values(each) for each in months if each.new],
        Change.MONTH: [columns.month_changes(each) for each in months if not each.new],
        Change.NEW_CHARGE: [columns.charge_values(each) for each in holds if each.new],
        Change.CHARGE: [columns.charge_changes(each) for each in holds if not each.new],
        Change.ENTRY: [columns.ledger_values(each) for each in books.added_entries],
        Change.USAGE: [(*name, *columns.usage_values(each)) for name, each in books.usage.items()],
        Change.USAGE_BY: [(*name, *columns.usage_by_values(each)) for name, each in books.usage_by.items()],
        Change.LOSS: [(*name, *columns.loss_values(each)) for name, each in books.losses.items()],
    }
    return {change: each for change, each in rows.items() if each}


def written(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> tuple[tuple[str, ...], Sequence[tuple[Any, ...]]]:
    """Rows of charges, each with a value for each name, less the SPARSE columns that no row has a value for.

    These are NULL in the table, and each costs its share of every batch.
    """
    kept = [
        place
        for place, (name, values) in enumerate(zip(names, zip(*rows, strict=True), strict=True))
        if name not in columns.SPARSE or values.count(None) < len(rows)
    ]
    if len(kept) == len(names):
        return tuple(names), rows
    pick = itemgetter(*kept)
    return pick(names), [pick(row) for row in rows]
