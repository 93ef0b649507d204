"""What the unary calls refuse, as the proto names it."""

from __future__ import annotations

from common.reasons import Reason
from servicekit.errors import DomainError, Kind


class HelloExpected(DomainError):
    """A stream began with something else."""

    kind, reason = Kind.INVALID, "HELLO_EXPECTED"


class SessionMalformed(DomainError):
    """A session id is 16 bytes."""

    kind, reason = Kind.INVALID, "SESSION_MALFORMED"


class RangeInvalid(DomainError):
    """Days are YYYY-MM-DD, in order, at most 366 days apart."""

    kind, reason = Kind.INVALID, Reason.RANGE_INVALID


class LimitOutOfRange(DomainError):
    """The size of a page outside its documented range; metadata `field` names it."""

    kind, reason = Kind.INVALID, "LIMIT_OUT_OF_RANGE"


class CursorMalformed(DomainError):
    """A page token that no answer has given.

    Edges of the version before know it by this name only. Once every edge takes auth's PAGE_TOKEN_MALFORMED too, it can
    be called that.
    """

    kind, reason = Kind.INVALID, Reason.CURSOR_MALFORMED


class AmountOutOfRange(DomainError):
    """Credits are whole, not negative and at most 1e15."""

    kind, reason = Kind.INVALID, "AMOUNT_OUT_OF_RANGE"


class IdMalformed(DomainError):
    """Ids of grants and refunds have 1 to 64 characters."""

    kind, reason = Kind.INVALID, "ID_MALFORMED"


class ChargeUnknown(DomainError):
    """There never was a charge by this id, or it is no longer kept."""

    kind, reason = Kind.NOT_FOUND, "CHARGE_UNKNOWN"


class IdReused(DomainError):
    """The id was used for another account or amount."""

    kind, reason = Kind.ALREADY_EXISTS, "ID_REUSED"


class InsufficientCredits(DomainError):
    """Less is free than was to be taken."""

    kind, reason = Kind.PRECONDITION, "INSUFFICIENT_CREDITS"
