"""What can be done to the books. Each operation is one atomic step, and repeating it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from services.quota.domain.pricing import Price


@dataclass(frozen=True, slots=True)
class Reserve:
    """Admit a request: a place in the rate window and a hold. Tokens are counts; `max_tokens` is per choice."""

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


@dataclass(frozen=True, slots=True)
class Progress:
    """So many output tokens have been delivered, or generated without being delivered: slide the hold ahead of them."""

    hold_id: bytes
    delivered_tokens: int
    generated_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Settle:
    """The request ended with so many output tokens: charge them. prompt_tokens 0: as reserved."""

    hold_id: bytes
    output_tokens: int
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """The request ended without output: return the hold. Of an unknown hold: it must never come to life."""

    hold_id: bytes


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


HoldOperation = Reserve | Progress | Settle | Release | Expire
Operation = HoldOperation | Grant | Refund
