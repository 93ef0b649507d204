"""Progress, settle, release, expire: a hold slides, and ends exactly once (G2, G3, G4)."""

from __future__ import annotations

from services.quota.domain import budget, hold_ids, losses, usage
from services.quota.domain.hold_life import Step, take_step
from services.quota.domain.operations import Expire, Progress, Release, Settle
from services.quota.domain.outcomes import Outcome, Progressed, Reason, Refused, Released, Settled
from services.quota.domain.pricing import Price
from services.quota.domain.records import Books, EntryKind, Hold, LedgerEntry, State
from services.quota.domain.reserve import WINDOW_TOKENS

TOMBSTONE_ACCOUNT = ""  # no account has this id


def progress(books: Books, operation: Progress) -> Outcome:
    """Commits what was delivered and slides the hold a window ahead of it, as far as the money reaches."""
    hold = books.holds.get(operation.hold_id)
    if hold is None or hold.state is not State.HELD:
        return not_held(hold)
    reached = max(operation.delivered_tokens, operation.generated_tokens)
    if reached > hold.covered_tokens:
        return Refused(Reason.INVALID, detail="the answer is further than the hold covers")
    if operation.delivered_tokens > hold.delivered_tokens:
        hold.delivered_tokens = operation.delivered_tokens
        hold.dirty = True
    if operation.prompt_tokens > hold.prompt_tokens:
        _slide_prompt(books, hold, operation.prompt_tokens)
    wanted = min(max(reached, hold.delivered_tokens) + WINDOW_TOKENS, hold.max_tokens * hold.choices)
    if wanted > hold.covered_tokens:
        _slide(books, hold, wanted)
    return Progressed(hold.covered_tokens, limited=hold.covered_tokens < wanted)


def _slide(books: Books, hold: Hold, wanted: int) -> None:
    account, month, price = books.accounts[hold.account_id], budget.month_of(books, hold), price_of(hold)
    payable = price.affordable(budget.free(account, month) + hold.held, hold.prompt_tokens)
    covered = min(wanted, payable)
    if covered <= hold.covered_tokens:
        return
    credits = price.cost(hold.prompt_tokens, covered)
    budget.take(account, month, credits - hold.held)
    hold.covered_tokens, hold.held, hold.dirty = covered, credits, True


def _slide_prompt(books: Books, hold: Hold, prompt_tokens: int) -> None:
    """Holds more for the prompt, as far as the money reaches. What is missing is uncollected when the hold ends."""
    account, month = books.accounts[hold.account_id], budget.month_of(books, hold)
    losses.note_count(books, hold, prompt_tokens)
    missing = price_of(hold).cost(prompt_tokens, hold.covered_tokens) - hold.held
    credits = min(missing, budget.free(account, month))
    budget.take(account, month, credits)
    hold.prompt_tokens, hold.held, hold.dirty = prompt_tokens, hold.held + credits, True


def settle(books: Books, operation: Settle) -> Outcome:
    """Charges what was generated. Nothing produced: no charge (G4). A repeat that is not unconfirmed confirms."""
    hold = books.holds.get(operation.hold_id)
    if hold is None:
        return not_held(hold)
    if hold.state is not State.HELD:
        if hold.unconfirmed and not operation.unconfirmed:
            take_step(hold, Step.CONFIRM)
        return ended(hold)
    prompt = operation.prompt_tokens or hold.prompt_tokens
    losses.note_count(books, hold, prompt)
    if operation.estimated is not None:
        hold.estimated = operation.estimated
    hold.end_reason, hold.first_token_ms = operation.end_reason, operation.first_token_ms
    hold.cached_tokens, hold.units = operation.cached_tokens, operation.units
    produced = operation.output_tokens > 0 if operation.produced is None else operation.produced
    step = Step.CHARGE_UNWRITTEN if operation.unconfirmed else Step.CHARGE
    return _end(books, hold, step, prompt, operation.output_tokens, produced=produced)


def release(books: Books, operation: Release) -> Outcome:
    """Returns the hold, no charge. An unknown id leaves a tombstone, so that a late reserve cannot come to life."""
    hold = books.holds.get(operation.hold_id)
    if hold is None and not hold_ids.plausible(operation.hold_id, books.now_us):
        return Released()  # a reserve by this id would be refused, early or late
    if hold is None:
        books.holds[operation.hold_id] = _tombstone(operation.hold_id, books.now_us)
        return Released()
    if hold.state is not State.HELD:
        return ended(hold)
    if operation.abandoned:
        losses.note_abandoned(books, hold)
    return _end(books, hold, Step.RELEASE, hold.prompt_tokens, 0, produced=False)


def expire(books: Books, operation: Expire) -> Outcome:
    """Ends a hold whose session is gone: what was committed as delivered is charged, the rest returns."""
    hold = books.holds.get(operation.hold_id)
    if hold is None:
        return not_held(hold)
    if hold.state is not State.HELD:
        return ended(hold)
    delivered = hold.delivered_tokens
    return _end(books, hold, Step.EXPIRE, hold.prompt_tokens, delivered, produced=delivered > 0)


def price_of(hold: Hold) -> Price:
    """The price at which the request was admitted, whatever the price list says now."""
    return Price(hold.input_price, hold.output_price)


def _end(books: Books, hold: Hold, step: Step, prompt_tokens: int, output_tokens: int, *, produced: bool) -> Outcome:
    """Charges what was produced, at most what is held, and gives back the rest of the hold."""
    account, month = books.accounts[hold.account_id], budget.month_of(books, hold)
    due = price_of(hold).cost(prompt_tokens, output_tokens) if produced else 0
    credits = min(due, hold.held)
    budget.give_back(account, month, hold.held)
    account.balance -= credits
    month.spent += credits
    take_step(hold, step if produced or step is Step.EXPIRE else Step.RELEASE)
    hold.held, hold.credits, hold.uncollected = 0, credits, due - credits
    hold.prompt_tokens, hold.output_tokens = prompt_tokens, output_tokens
    hold.ended_us, hold.produced = books.now_us, produced
    if produced:
        _book(books, hold, account.balance)
    if hold.uncollected:
        losses.of(books, hold).uncollected += hold.uncollected
    return ended(hold)


def _book(books: Books, hold: Hold, balance: int) -> None:
    books.added_entries.append(
        LedgerEntry(hold.account_id, EntryKind.CHARGE, -hold.credits, hold.id.hex(), hold.model, books.now_us, balance)
    )
    usage.add_charge(books, hold)


def ended(hold: Hold) -> Outcome:
    """The first answer, for a repeat: what the hold's end was, refunded later or not."""
    if hold.state is State.RELEASED:
        return Released()
    return Settled(hold.credits + hold.refunded, hold.uncollected)


def not_held(hold: Hold | None) -> Refused:
    """The refusal of an operation whose hold is unknown, or has ended."""
    if hold is None:
        return Refused(Reason.HOLD_ENDED, detail="there is no such hold")
    return Refused(Reason.HOLD_ENDED, detail=f"the hold is {hold.state.name.lower()}")


def _tombstone(hold_id: bytes, now_us: int) -> Hold:
    return Hold(
        id=hold_id,
        account_id=TOMBSTONE_ACCOUNT,
        key_id="",
        session_id=b"",
        seq=None,
        key_seq=None,
        model="",
        state=State.RELEASED,
        input_price=0,
        output_price=0,
        choices=1,
        prompt_tokens=0,
        requested_tokens=0,
        max_tokens=0,
        covered_tokens=0,
        delivered_tokens=0,
        output_tokens=0,
        held=0,
        credits=0,
        uncollected=0,
        day="",
        month=0,
        reserved_us=now_us,
        ended_us=now_us,
        new=True,
        dirty=True,
    )
