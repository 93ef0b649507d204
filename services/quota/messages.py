"""Between the proto's messages and the domain's operations and outcomes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Any

from muhgpt.quota.v1 import quota_pb2 as pb
from services.quota.domain import errors, operations, outcomes, versions
from services.quota.domain.outcomes import Limit, Reason
from services.quota.domain.pricing import PriceBook
from services.quota.running.guard import Guard

MAX_TOKENS = 100_000_000  # in one request: keeps credits inside 64 bits at any price of the model list
MAX_CHOICES = 8
MAX_ID_LENGTH = 128  # characters of an account's or key's id
_KIND = re.compile(r"[\w-]{1,32}", re.ASCII)
DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 100, 1000
MAX_DAYS = 366

REASONS = {
    Reason.RATE_LIMITED: pb.Refused.REASON_RATE_LIMITED,
    Reason.INSUFFICIENT_CREDITS: pb.Refused.REASON_INSUFFICIENT_CREDITS,
    Reason.KEY_LIMIT_REACHED: pb.Refused.REASON_KEY_LIMIT_REACHED,
    Reason.NO_PRICE: pb.Refused.REASON_NO_PRICE,
    Reason.HOLD_CONFLICT: pb.Refused.REASON_HOLD_CONFLICT,
    Reason.HOLD_ENDED: pb.Refused.REASON_HOLD_ENDED,
    Reason.INVALID: pb.Refused.REASON_INVALID,
    Reason.UNAVAILABLE: pb.Refused.REASON_UNAVAILABLE,
    Reason.LOSSES_TOO_HIGH: pb.Refused.REASON_LOSSES_TOO_HIGH,
}


LIMITS = {
    Limit.ACCOUNT: pb.Refused.LIMIT_ACCOUNT,
    Limit.KEY: pb.Refused.LIMIT_KEY,
    Limit.MONTH: pb.Refused.LIMIT_MONTH,
}


def to_operation(
    message: pb.Operation, session_id: bytes, prices: PriceBook, guard: Guard
) -> operations.HoldOperation | outcomes.Refused:
    """One operation of a stream, or why it cannot be one."""
    if len(message.hold_id) != 16:
        return _invalid("hold_id is not 16 bytes")
    kind = message.WhichOneof("operation")
    if kind == "reserve":
        return _reserve(message.hold_id, message.reserve, session_id, prices, guard)
    if kind == "progress":
        return _progress(message.hold_id, message.progress)
    if kind == "settle":
        return _settle(message.hold_id, message.settle)
    if kind == "confirm":
        return operations.Confirm(message.hold_id)
    if kind == "release":
        return operations.Release(message.hold_id, message.release.abandoned)
    return _invalid("the operation is empty")


def _progress(hold_id: bytes, message: pb.Progress) -> operations.Progress | outcomes.Refused:
    counts = (message.delivered_tokens, message.generated_tokens, message.prompt_tokens)
    if not all(0 <= count <= MAX_TOKENS for count in counts):
        return _invalid("progress names an impossible number of tokens")
    return operations.Progress(hold_id, *counts)


def _settle(hold_id: bytes, message: pb.Settle) -> operations.Settle | outcomes.Refused:
    output, prompt = message.output_tokens, message.prompt_tokens
    if not 0 <= output <= MAX_TOKENS or not 0 <= prompt <= MAX_TOKENS:
        return _invalid("settle names an impossible number of tokens")
    return operations.Settle(
        hold_id,
        output,
        prompt,
        message.unconfirmed,
        optional(message, "estimated"),
        optional(message, "produced"),
        end_reason=_text(message.end_reason),
        first_token_ms=_count(message, "first_token_ms"),
        cached_tokens=_count(message, "cached_tokens"),
        units=_units(message),
    )


def _reserve(
    hold_id: bytes, message: pb.Reserve, session_id: bytes, prices: PriceBook, guard: Guard
) -> operations.Reserve | outcomes.Refused:
    if (fault := _fault_of(message)) is not None:
        return _invalid(fault)
    price = prices.get(message.model)
    if price is None:
        return outcomes.Refused(
            Reason.NO_PRICE, detail=f"the model list has no price for {message.model[:MAX_ID_LENGTH]!r}"
        )
    verdict = guard.judge(message.account_id, message.account_version, message.key_id, message.key_version)
    return operations.Reserve(
        hold_id=hold_id,
        session_id=session_id,
        account_id=message.account_id,
        key_id=message.key_id,
        model=message.model,
        price=price,
        prompt_tokens=message.prompt_tokens,
        max_tokens=message.max_tokens,
        choices=message.choices,
        account_version=message.account_version,
        key_version=message.key_version,
        requests_per_minute=message.requests_per_minute,
        monthly_credit_limit=optional(message, "monthly_credit_limit"),
        key_requests_per_minute=optional(message, "key_requests_per_minute"),
        estimated=message.estimated,
        endpoint=_text(message.endpoint),
        member_id=_text(message.member_id),
        request_id=_text(message.request_id),
        idempotency=_text(message.idempotency),
        account_agreed=verdict.account_agreed,
        key_agreed=verdict.key_agreed,
        barred_us=verdict.barred_us,
    )


def _fault_of(message: pb.Reserve) -> str | None:
    """What is out of its range."""
    if not valid_id(message.account_id) or not valid_id(message.key_id):
        return "reserve names no account or no key, or an impossible one"
    if not 1 <= message.prompt_tokens <= MAX_TOKENS or not 0 <= message.max_tokens <= MAX_TOKENS:
        return "reserve names an impossible number of tokens"
    if not 1 <= message.choices <= MAX_CHOICES or message.requests_per_minute < 1:
        return "reserve names impossible choices or limits"
    if not 0 <= message.account_version <= versions.MAX_VERSION or not 0 <= message.key_version <= versions.MAX_VERSION:
        return "reserve names a version that was never issued"
    ceiling, of_key = optional(message, "monthly_credit_limit"), optional(message, "key_requests_per_minute")
    if (ceiling is not None and ceiling < 0) or (of_key is not None and of_key < 1):
        return "reserve names impossible limits of the key"
    return None


def to_units(taken: pb.Units, given: pb.Units) -> str | None:
    """Both as they are stored, "searches=1>images=2" with an empty side for none; None: neither. See from_units."""
    sides = [f"{each.kind}={each.quantity}" if _KIND.fullmatch(each.kind) else "" for each in (taken, given)]
    return ">".join(sides) if any(sides) else None


def _units(message: pb.Settle) -> str | None:
    if not message.HasField("input_units") and not message.HasField("output_units"):
        return None
    return to_units(message.input_units, message.output_units)


def from_units(units: str) -> list[pb.Units | None]:
    """The other way round."""
    sides = [each.partition("=") for each in units.split(">")]
    return [pb.Units(kind=kind, quantity=int(quantity)) if kind else None for kind, _, quantity in sides]


def _text(text: str) -> str | None:
    if not text:
        return None
    return (text if text.isprintable() else printable(text))[:MAX_ID_LENGTH] or None


def _count(message: Any, field: str) -> int | None:
    """A number for receipts only: one that is out of range is left out."""
    value = optional(message, field)
    return value if value is not None and 0 <= value <= MAX_TOKENS else None


def valid_id(name: str) -> bool:
    """Whether this can be the id of an account or key. A database takes no control characters."""
    return 0 < len(name) <= MAX_ID_LENGTH and name.isprintable()


def printable(text: str) -> str:
    """The text without control characters, which PostgreSQL and terminals take badly."""
    return "".join(character for character in text if character.isprintable())


def _invalid(detail: str) -> outcomes.Refused:
    return outcomes.Refused(Reason.INVALID, detail=detail)


def optional(message: Any, field: str) -> Any:
    """The field's value, None when it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def to_message(hold_id: bytes, outcome: outcomes.Outcome) -> pb.Outcome:
    """An outcome for the stream."""
    message = pb.Outcome(hold_id=hold_id)
    OUTCOMES[type(outcome)](message, outcome)
    return message


def _reserved(message: pb.Outcome, outcome: outcomes.Reserved) -> None:
    message.reserved.max_tokens = outcome.max_tokens
    message.reserved.covered_tokens = outcome.covered_tokens
    _window(message.reserved.window, outcome.window)


def _progressed(message: pb.Outcome, outcome: outcomes.Progressed) -> None:
    message.progressed.covered_tokens = outcome.covered_tokens
    message.progressed.limited = outcome.limited


def _settled(message: pb.Outcome, outcome: outcomes.Settled) -> None:
    message.settled.SetInParent()
    message.settled.credits = outcome.credits
    message.settled.uncollected_credits = outcome.uncollected


def _confirmed(message: pb.Outcome, outcome: outcomes.Confirmed) -> None:
    message.confirmed.SetInParent()
    message.confirmed.refunded_credits = outcome.refunded


def _released(message: pb.Outcome, outcome: outcomes.Released) -> None:
    message.released.SetInParent()


def _refused(message: pb.Outcome, outcome: outcomes.Refused) -> None:
    message.refused.reason = REASONS[outcome.reason]
    message.refused.detail = outcome.detail
    if outcome.retry_us is not None:
        message.refused.retry_after.FromMicroseconds(outcome.retry_us)
    if outcome.window is not None:
        _window(message.refused.window, outcome.window)
    if outcome.limit is not None:
        message.refused.limit = LIMITS[outcome.limit]


def _window(message: pb.RateWindow, window: outcomes.WindowState) -> None:
    message.limit = window.limit
    message.remaining = window.remaining
    message.reset_after.FromMicroseconds(window.reset_us)


OUTCOMES: dict[type[Any], Callable[[pb.Outcome, Any], None]] = {
    outcomes.Reserved: _reserved,
    outcomes.Progressed: _progressed,
    outcomes.Settled: _settled,
    outcomes.Confirmed: _confirmed,
    outcomes.Released: _released,
    outcomes.Refused: _refused,
}


def page_size(size: int) -> int:
    """Rows of a page; 0 asks for the default. Raises LimitOutOfRange, as auth's lists do."""
    if not 0 <= size <= MAX_PAGE_SIZE:
        raise errors.LimitOutOfRange(f"page_size must be from 1 to {MAX_PAGE_SIZE:,}, not {size:,}", field="page_size")
    return size or DEFAULT_PAGE_SIZE


def number_cursor(token: str) -> int | None:
    """The number that a list goes on below; None: from the newest. Raises CursorMalformed."""
    if token and not (token.isascii() and token.isdecimal() and len(token) < 19):
        raise errors.CursorMalformed("the page token is not one that this service gave")
    return int(token) if token else None


def hold_cursor(token: str) -> bytes | None:
    """The hold that a list goes on after; None: from the newest. Raises CursorMalformed."""
    try:
        hold_id = bytes.fromhex(token)
    except ValueError:
        hold_id = b"?"
    if len(hold_id) not in (0, 16):
        raise errors.CursorMalformed("the page token is not the id of a charge")
    return hold_id or None


def day_range(start: str, end: str) -> tuple[str, str]:
    """Both days, checked. Raises RangeInvalid."""
    try:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
    except ValueError:
        raise errors.RangeInvalid("days are written YYYY-MM-DD") from None
    if not 0 <= (last - first).days <= MAX_DAYS:
        raise errors.RangeInvalid(f"the end must not lie before the start, nor more than {MAX_DAYS} days after it")
    return first.isoformat(), last.isoformat()
