"""Grants and refunds: the operator's (and later the payments') side of the ledger. Idempotent by their ids."""

from __future__ import annotations

from services.quota.domain.operations import Grant, Refund
from services.quota.domain.outcomes import Balanced, Outcome, Reason, Refused
from services.quota.domain.records import Books, EntryKind, LedgerEntry

MAX_CREDITS = 10**15  # in one operation and in one balance: far from 64 bits, far above any real amount


def grant(books: Books, operation: Grant) -> Outcome:
    """Adds credits and makes the account when it is new."""
    kind = EntryKind.PURCHASE if operation.purchase else EntryKind.GRANT
    if (earlier := books.entries.get((kind, operation.grant_id))) is not None:
        return _repeated(earlier, operation.account_id, operation.credits)
    account = books.accounts[operation.account_id]
    if account.balance + operation.credits > MAX_CREDITS:
        return Refused(Reason.INVALID, detail=f"a balance above {MAX_CREDITS} credits is not kept")
    account.balance += operation.credits
    account.dirty = True
    return _book(books, account.id, kind, operation.credits, operation.grant_id, operation.reason)


def refund(books: Books, operation: Refund) -> Outcome:
    """Takes credits back, only what no open hold covers."""
    if (earlier := books.entries.get((EntryKind.REFUND, operation.refund_id))) is not None:
        return _repeated(earlier, operation.account_id, -operation.credits)
    account = books.accounts[operation.account_id]
    if account.balance - account.held < operation.credits:
        free = account.balance - account.held
        return Refused(Reason.INSUFFICIENT_CREDITS, detail=f"only {free} credits are free")
    account.balance -= operation.credits
    account.dirty = True
    return _book(books, account.id, EntryKind.REFUND, -operation.credits, operation.refund_id, operation.reason)


def _book(books: Books, account_id: str, kind: EntryKind, credits: int, reference: str, reason: str) -> Outcome:
    balance = books.accounts[account_id].balance
    entry = LedgerEntry(account_id, kind, credits, reference, reason, books.now_us, balance)
    books.entries[(kind, reference)] = entry
    books.added_entries.append(entry)
    return Balanced(balance)


def _repeated(earlier: LedgerEntry, account_id: str, credits: int) -> Outcome:
    if (earlier.account_id, earlier.credits) != (account_id, credits):
        return Refused(Reason.ID_REUSED, detail="this id was used for another account or amount")
    return Balanced(earlier.balance_after, repeated=True)
