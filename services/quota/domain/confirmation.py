"""Whole answers: a charge that is made before the answer is written stands once it has left the edge (G3).

An edge that is killed in between has charged for what its client never saw. So such a charge is unconfirmed at first,
and given back when its session ends without a confirmation.
"""

from __future__ import annotations

from services.quota.domain import budget, losses, usage
from services.quota.domain.hold_life import Step, take_step
from services.quota.domain.holds import ended, not_held
from services.quota.domain.operations import Confirm, RefundAnswer
from services.quota.domain.outcomes import Confirmed, Outcome, Reason, Refused
from services.quota.domain.records import Books, EntryKind, Hold, LedgerEntry, State

REASON = "answer not written"


def confirm(books: Books, operation: Confirm) -> Outcome:
    """The charge stands. After a refund, or a first confirmation, it changes nothing."""
    hold = books.holds.get(operation.hold_id)
    if hold is None:
        return not_held(hold)
    if hold.state is State.HELD:
        return Refused(Reason.INVALID, detail="the hold was not settled yet")
    if hold.unconfirmed:
        take_step(hold, Step.CONFIRM)
    return Confirmed(hold.refunded)


def refund_answer(books: Books, operation: RefundAnswer) -> Outcome:
    """Gives the charge back, and takes the request out of usage. A confirmed charge stays as it is."""
    hold = books.holds.get(operation.hold_id)
    if hold is None:
        return not_held(hold)
    if hold.unconfirmed:
        _give_back(books, hold)
    return ended(hold)


def _give_back(books: Books, hold: Hold) -> None:
    account, month = books.accounts[hold.account_id], budget.month_of(books, hold)
    credits = hold.credits
    account.balance += credits
    month.spent -= credits
    account.dirty = month.dirty = True
    take_step(hold, Step.REFUND)
    hold.credits, hold.refunded = 0, credits
    reference, kind = hold.id.hex(), EntryKind.ANSWER_REFUND
    books.added_entries.append(LedgerEntry(account.id, kind, credits, reference, REASON, books.now_us, account.balance))
    usage.take_out(books, hold, credits)
    losses.of(books, hold).answer_refunds += credits
