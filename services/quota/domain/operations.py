"""What can be done to the books. Each operation is one atomic step, and repeating it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from services.quota.domain.pricing import Price


@dataclass(frozen=True, slots=True)
class Reserve:
    """Admit a request: a place in the rate window and a hold.

    Tokens are counts; `max_tokens` is per choice, 0 for work that has no output tokens (embeddings).
    """

    hold_id: bytes
    session_id: bytes
    account_id: str
    key_id: str
    model: str
    price: Price
    prompt_tokens: int
    max_tokens: int
    choices: int
    account_version: int
    key_version: int
    requests_per_minute: int
    monthly_credit_limit: int | None = None
    key_requests_per_minute: int | None = None
    estimated: bool = False
    endpoint: str | None = None
    member_id: str | None = None
    request_id: str | None = None
    idempotency: str | None = None
    # Only these versions have been presented for a while, so they replace higher ones too (domain/versions.py).
    account_agreed: bool = False
    key_agreed: bool = False
    barred_us: int | None = None  # the account's losses are above the bound; admitted again that much later


@dataclass(frozen=True, slots=True)
class Progress:
    """Output tokens delivered, or generated without being delivered: slide the hold ahead of them.

    prompt_tokens: the engine counts the prompt higher than reserved, so hold the difference too; 0: as before.
    """

    hold_id: bytes
    delivered_tokens: int
    generated_tokens: int = 0
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Settle:
    """The request ended with this many output tokens: charge them. prompt_tokens 0, estimated None: as reserved.

    unconfirmed: refund the charge if the session ends before Confirm. produced: whether there is anything to pay for,
    also where that is not counted in output tokens; None: if there are output tokens.
    """

    hold_id: bytes
    output_tokens: int
    prompt_tokens: int = 0
    unconfirmed: bool = False
    estimated: bool | None = None
    produced: bool | None = None
    # For the receipt (quota.proto). `units` is text as to_units() in messages.py writes it.
    end_reason: str | None = None
    first_token_ms: int | None = None
    cached_tokens: int | None = None
    units: str | None = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """The answer has left its edge, or its client is gone: the unconfirmed charge stands."""

    hold_id: bytes


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """The session ended without confirming: give the charge back, in whole."""

    hold_id: bytes


@dataclass(frozen=True, slots=True)
class Release:
    """The request ended with nothing produced: return the hold. Of an unknown hold: it must never come to life.

    abandoned: its client left before the first token, so the work on its prompt is a loss.
    """

    hold_id: bytes
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Expire:
    """The hold's session is gone: charge the committed progress, return the rest."""

    hold_id: bytes


@dataclass(frozen=True, slots=True)
class Grant:
    """Add credits. `grant_id` makes a repeat harmless."""

    grant_id: str
    account_id: str
    credits: int
    reason: str = ""
    purchase: bool = False


@dataclass(frozen=True, slots=True)
class Refund:
    """Take credits back. `refund_id` makes a repeat harmless."""

    refund_id: str
    account_id: str
    credits: int
    reason: str = ""


HoldOperation = Reserve | Progress | Settle | Confirm | RefundAnswer | Release | Expire
Operation = HoldOperation | Grant | Refund
