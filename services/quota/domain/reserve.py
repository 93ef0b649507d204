"""Reserve: one request's place in the rate window and its hold, decided together (G1, G2, G5)."""

from __future__ import annotations

from common.hold_id import instant_us
from services.quota.domain import budget, hold_ids, rate_window, versions
from services.quota.domain.calendar import day_and_month
from services.quota.domain.operations import Reserve
from services.quota.domain.outcomes import Limit, Outcome, Reason, Refused, Reserved, WindowState
from services.quota.domain.records import Account, Admissions, Books, Hold, Key, KeyMonth, State

WINDOW_TOKENS = 64  # output tokens a hold covers ahead of what was delivered

NO_ADMISSIONS = Admissions()


def reserve(books: Books, operation: Reserve) -> Outcome:
    """Admits or refuses. When several reasons apply: the rate limit first, then the key's ceiling or the balance.

    An id that its edge made more than a day from now is refused as INVALID (hold_ids.py).
    """
    if (known := books.holds.get(operation.hold_id)) is not None:
        return _repeated(books, known, operation)
    if not hold_ids.plausible(operation.hold_id, books.now_us):
        return _wrong_clock(books, operation)
    if operation.barred_us is not None:
        return Refused(Reason.LOSSES_TOO_HIGH, retry_us=operation.barred_us)
    account = books.accounts[operation.account_id]
    key = books.keys[operation.key_id]
    if key.account_id != account.id:
        return Refused(Reason.INVALID, detail="the key belongs to another account")
    _keep_newest_limits(account, key, operation)
    now_us = max(books.now_us, account.last_admitted_us, key.last_admitted_us)
    if (refused := _rate_limited(books, account, key, now_us)) is not None:
        return refused
    month = books.months[(key.id, day_and_month(now_us)[1])]
    budget.set_ceiling(month, key)
    credits = budget.free(account, month)
    payable = operation.price.affordable(credits, operation.prompt_tokens)
    if payable < _least(operation):
        return _cannot_pay(books, account, key, operation, now_us)
    return _admit(books, account, key, month, operation, payable, now_us)


def _least(operation: Reserve) -> int:
    """Output tokens that must be affordable beside the prompt: one, unless the work has none."""
    return min(1, operation.max_tokens)


def _wrong_clock(books: Books, operation: Reserve) -> Refused:
    """Charges are kept, and the window's admissions found, by the time in their ids."""
    hours = (instant_us(operation.hold_id) - books.now_us) / 3_600_000_000
    return Refused(Reason.INVALID, detail=f"the hold_id was made at {hours:+.0f} h from now: set the edge's clock")


def _keep_newest_limits(account: Account, key: Key, operation: Reserve) -> None:
    """Limits travel with the principal's versions; an edge with an older principal must not bring old limits back.

    Nor may an edge that makes a version up keep an operator's change out for long (versions.py).
    """
    if account.requests_per_minute == 0:
        _set_account_limits(account, operation, versions.first(operation.account_version))
    elif versions.replaces(operation.account_version, account.version, agreed=operation.account_agreed):
        _set_account_limits(account, operation, operation.account_version)
    if key.version < 0:
        _set_key_limits(key, operation, versions.first(operation.key_version))
    elif versions.replaces(operation.key_version, key.version, agreed=operation.key_agreed):
        _set_key_limits(key, operation, operation.key_version)


def _set_account_limits(account: Account, operation: Reserve, version: int) -> None:
    limits = (version, operation.requests_per_minute)
    if limits != (account.version, account.requests_per_minute):
        account.version, account.requests_per_minute = limits
        account.dirty = True


def _set_key_limits(key: Key, operation: Reserve, version: int) -> None:
    limits = (version, operation.monthly_credit_limit, operation.key_requests_per_minute)
    if limits != (key.version, key.monthly_credit_limit, key.requests_per_minute):
        key.version, key.monthly_credit_limit, key.requests_per_minute = limits
        key.dirty = True


def _rate_limited(books: Books, account: Account, key: Key, now_us: int) -> Refused | None:
    """The refusal of the window that is full for longer, with where that window stands."""
    of_account = books.account_admissions.get(account.id, NO_ADMISSIONS)
    wait = rate_window.wait_us(account.last_seq, of_account, account.requests_per_minute, now_us)
    limit = Limit.ACCOUNT
    if key.requests_per_minute is not None:
        of_key = books.key_admissions.get(key.id, NO_ADMISSIONS)
        wait_for_key = rate_window.wait_us(key.last_seq, of_key, key.requests_per_minute, now_us)
        if wait_for_key > wait:
            wait, limit = wait_for_key, Limit.KEY
    if wait == 0:
        return None
    state = _account_window(books, account, now_us) if limit is Limit.ACCOUNT else _key_window(books, key, now_us)
    return Refused(Reason.RATE_LIMITED, retry_us=wait, window=state, limit=limit)


def _cannot_pay(books: Books, account: Account, key: Key, operation: Reserve, now_us: int) -> Refused:
    """The balance is named when it alone would refuse; otherwise it is the key's ceiling."""
    by_balance = operation.price.affordable(max(0, account.balance - account.held), operation.prompt_tokens)
    window = _window(books, account, key, now_us)
    if by_balance < _least(operation):
        return Refused(Reason.INSUFFICIENT_CREDITS, window=window, limit=Limit.ACCOUNT)
    return Refused(Reason.KEY_LIMIT_REACHED, window=window, limit=Limit.MONTH)


def _admit(
    books: Books, account: Account, key: Key, month: KeyMonth, operation: Reserve, payable: int, now_us: int
) -> Reserved:
    max_tokens = min(operation.max_tokens, max(1, payable // operation.choices))
    covered = min(WINDOW_TOKENS, max_tokens * operation.choices, payable)
    hold = _hold(operation, max_tokens, covered, now_us)
    budget.take(account, month, hold.held)
    hold.seq, hold.key_seq = _number(books, account, key, now_us)
    books.holds[hold.id] = hold
    return Reserved(max_tokens, covered, _window(books, account, key, now_us))


def _number(books: Books, account: Account, key: Key, now_us: int) -> tuple[int, int | None]:
    """Takes a place in the account's window, and in the key's own where it has one; returns their numbers."""
    admissions = books.account_admissions.setdefault(account.id, Admissions())
    account.last_seq = rate_window.admit(account.last_seq, admissions, now_us)
    account.last_admitted_us = now_us
    if key.requests_per_minute is None:
        return account.last_seq, None
    of_key = books.key_admissions.setdefault(key.id, Admissions())
    key.last_seq = rate_window.admit(key.last_seq, of_key, now_us)
    key.last_admitted_us, key.dirty = now_us, True
    return account.last_seq, key.last_seq


def _hold(operation: Reserve, max_tokens: int, covered: int, now_us: int) -> Hold:
    """The hold of an admitted request, yet without its numbers."""
    day, month = day_and_month(now_us)
    return Hold(
        id=operation.hold_id,
        account_id=operation.account_id,
        key_id=operation.key_id,
        session_id=operation.session_id,
        seq=None,
        key_seq=None,
        model=operation.model,
        state=State.HELD,
        input_price=operation.price.input,
        output_price=operation.price.output,
        choices=operation.choices,
        prompt_tokens=operation.prompt_tokens,
        requested_tokens=operation.max_tokens,
        max_tokens=max_tokens,
        covered_tokens=covered,
        delivered_tokens=0,
        output_tokens=0,
        held=operation.price.cost(operation.prompt_tokens, covered),
        credits=0,
        uncollected=0,
        day=day,
        month=month,
        reserved_us=now_us,
        ended_us=None,
        estimated=operation.estimated,
        endpoint=operation.endpoint,
        member_id=operation.member_id,
        request_id=operation.request_id,
        idempotency=operation.idempotency,
        new=True,
        dirty=True,
    )


def _repeated(books: Books, hold: Hold, operation: Reserve) -> Outcome:
    """A repeat gives the first answer; the same id for something else is an error, and a tombstone stays dead."""
    asked = (operation.account_id, operation.key_id, operation.model, operation.max_tokens, operation.choices)
    first = (hold.account_id, hold.key_id, hold.model, hold.requested_tokens, hold.choices)
    if hold.state is not State.HELD:
        return Refused(Reason.HOLD_ENDED, detail=f"the hold is {hold.state.name.lower()}")
    # A Progress may have raised the hold's count of the prompt since.
    if asked != first or operation.prompt_tokens > hold.prompt_tokens:
        return Refused(Reason.HOLD_CONFLICT, detail="the hold_id is in use for another request")
    account, key = books.accounts[hold.account_id], books.keys[hold.key_id]
    now_us = max(books.now_us, account.last_admitted_us)
    return Reserved(hold.max_tokens, hold.covered_tokens, _window(books, account, key, now_us))


def _window(books: Books, account: Account, key: Key, now_us: int) -> WindowState:
    """The tighter of the account's window and the key's own."""
    of_account = _account_window(books, account, now_us)
    if key.requests_per_minute is None:
        return of_account
    return min(of_account, _key_window(books, key, now_us), key=lambda each: each.remaining)


def _account_window(books: Books, account: Account, now_us: int) -> WindowState:
    admissions = books.account_admissions.get(account.id, NO_ADMISSIONS)
    limit = account.requests_per_minute
    return rate_window.state(account.last_seq, account.last_admitted_us, admissions, limit, now_us)


def _key_window(books: Books, key: Key, now_us: int) -> WindowState:
    """Of a key that has a window of its own."""
    assert key.requests_per_minute is not None
    admissions = books.key_admissions.get(key.id, NO_ADMISSIONS)
    return rate_window.state(key.last_seq, key.last_admitted_us, admissions, key.requests_per_minute, now_us)
