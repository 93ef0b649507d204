"""What became of an operation."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Reason(enum.Enum):
    """Why an operation was refused; the proto says what each means."""

    RATE_LIMITED = "rate_limited"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    KEY_LIMIT_REACHED = "key_limit_reached"
    NO_PRICE = "no_price"
    HOLD_CONFLICT = "hold_conflict"
    HOLD_ENDED = "hold_ended"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"
    ID_REUSED = "id_reused"
    LOSSES_TOO_HIGH = "losses_too_high"


class Limit(enum.Enum):
    """What refused a reservation: the account's window or balance, the key's window, or the key's monthly ceiling."""

    ACCOUNT = "account"
    KEY = "key"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class WindowState:
    """A rate window at the moment of a decision: requests, requests, microseconds until it is empty."""

    limit: int
    remaining: int
    reset_us: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """Admitted. `max_tokens` is per choice, `covered_tokens` the sum over all choices."""

    max_tokens: int
    covered_tokens: int
    window: WindowState


@dataclass(frozen=True, slots=True)
class Progressed:
    """Output tokens that may be delivered now; `limited` when the money did not reach for a whole window."""

    covered_tokens: int
    limited: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """Charged. What lay beyond the hold could not be collected."""

    credits: int
    uncollected: int = 0


@dataclass(frozen=True, slots=True)
class Released:
    """Nothing was charged."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The charge stands; or `refunded` credits of it had been given back before."""

    refunded: int = 0


@dataclass(frozen=True, slots=True)
class Balanced:
    """A grant or refund is booked; the balance after it. `repeated`: by an earlier operation with the same id."""

    balance: int
    repeated: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing changed. `retry_us`, in microseconds, is set for RATE_LIMITED, where it is exact, and LOSSES_TOO_HIGH.

    `limit` is set for RATE_LIMITED, whose `window` is that limit's, and for the credit reasons.
    """

    reason: Reason
    detail: str = ""
    retry_us: int | None = None
    window: WindowState | None = None
    limit: Limit | None = None


Outcome = Reserved | Progressed | Settled | Confirmed | Released | Balanced | Refused
