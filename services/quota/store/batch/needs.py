"""What a batch of operations must load before it can be decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.quota.domain.calendar import day_and_month
from services.quota.domain.operations import Grant, Operation, Refund, Reserve
from services.quota.domain.records import Account, Books, EntryKind, Key, KeyMonth


@dataclass(slots=True)
class Needs:
    """The rows that a batch names, found without looking at the database."""

    hold_ids: list[bytes] = field(default_factory=list)
    reserved_ids: set[bytes] = field(default_factory=set)  # of hold_ids, those that the batch reserves
    account_ids: set[str] = field(default_factory=set)
    keys: dict[str, str] = field(default_factory=dict)  # key id → account id
    account_limits: dict[str, set[int]] = field(default_factory=dict)
    key_limits: dict[str, set[int]] = field(default_factory=dict)
    reserves: dict[str, int] = field(default_factory=dict)  # by account
    references: list[tuple[EntryKind, str]] = field(default_factory=list)

    @classmethod
    def of(cls, operations: Sequence[Operation]) -> Needs:
        """Reads a batch."""
        needs = cls()
        for operation in operations:
            if isinstance(operation, Grant):
                kind = EntryKind.PURCHASE if operation.purchase else EntryKind.GRANT
                needs.references.append((kind, operation.grant_id))
                needs.account_ids.add(operation.account_id)
            elif isinstance(operation, Refund):
                needs.references.append((EntryKind.REFUND, operation.refund_id))
                needs.account_ids.add(operation.account_id)
            else:
                needs.hold_ids.append(operation.hold_id)
                if isinstance(operation, Reserve):
                    needs._reserve(operation)
        return needs

    def _reserve(self, operation: Reserve) -> None:
        account, key = operation.account_id, operation.key_id
        self.reserved_ids.add(operation.hold_id)
        self.account_ids.add(account)
        self.keys[key] = account
        self.reserves[account] = self.reserves.get(account, 0) + 1
        self.account_limits.setdefault(account, set()).add(operation.requests_per_minute)
        if operation.key_requests_per_minute is not None:
            self.key_limits.setdefault(key, set()).add(operation.key_requests_per_minute)

    def complete(self, books: Books) -> None:
        """Makes empty records for the accounts and keys that have no row yet."""
        for account_id in self.account_ids - books.accounts.keys():
            books.accounts[account_id] = Account(account_id, new=True)
        for key_id, account_id in self.keys.items():
            if key_id not in books.keys:
                books.keys[key_id] = Key(key_id, account_id)

    def months(self, books: Books) -> set[tuple[str, int]]:
        """The (key, month) pairs that decisions can touch."""
        pairs = {(hold.key_id, hold.month) for hold in books.holds.values() if hold.key_id}
        for key_id, account_id in self.keys.items():
            instants = (books.now_us, books.accounts[account_id].last_admitted_us, books.keys[key_id].last_admitted_us)
            pairs.add((key_id, day_and_month(max(instants))[1]))
        return pairs


def complete_months(books: Books, pairs: set[tuple[str, int]]) -> None:
    """Makes empty records for the months that have no row yet."""
    for key_id, month in pairs - books.months.keys():
        books.months[(key_id, month)] = KeyMonth(key_id, month, new=True)
