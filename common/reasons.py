"""The reasons that one service gives another, and that the other acts on: one list for both sides.

Reasons of unary calls travel as text (google.rpc.ErrorInfo). Those of streams are enums of the contracts,
`Refused.Reason` of quota and `Failed.Reason` of inference, with the same names here
(tests/unit/services/test_reasons.py compares them).
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something was refused, or failed."""

    # auth, of a key
    KEY_UNKNOWN = "KEY_UNKNOWN"
    KEY_REVOKED = "KEY_REVOKED"
    KEY_EXPIRED = "KEY_EXPIRED"
    ACCOUNT_SUSPENDED = "ACCOUNT_SUSPENDED"

    # quota, of a question
    RANGE_INVALID = "RANGE_INVALID"
    CURSOR_MALFORMED = "CURSOR_MALFORMED"
    PAGE_TOKEN_MALFORMED = "PAGE_TOKEN_MALFORMED"  # what quota will call it

    # quota, of an operation on a hold (quota.proto, Refused)
    RATE_LIMITED = "RATE_LIMITED"
    INSUFFICIENT_CREDITS = "INSUFFICIENT_CREDITS"
    KEY_LIMIT_REACHED = "KEY_LIMIT_REACHED"
    NO_PRICE = "NO_PRICE"
    HOLD_CONFLICT = "HOLD_CONFLICT"
    HOLD_ENDED = "HOLD_ENDED"
    INVALID = "INVALID"
    UNAVAILABLE = "UNAVAILABLE"
    LOSSES_TOO_HIGH = "LOSSES_TOO_HIGH"

    # inference, of a generation (inference.proto, Failed)
    INVALID_REQUEST = "INVALID_REQUEST"
    CONTEXT_TOO_LONG = "CONTEXT_TOO_LONG"
    IMAGE_NOT_SUPPORTED = "IMAGE_NOT_SUPPORTED"
    INVALID_IMAGE = "INVALID_IMAGE"
    INVALID_IMAGE_URL = "INVALID_IMAGE_URL"
    MODEL_UNKNOWN = "MODEL_UNKNOWN"
    ENGINE_UNAVAILABLE = "ENGINE_UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"

    # Any of them, from a newer version of the service
    OTHER = "OTHER"

    @classmethod
    def named(cls, name: str) -> Reason:
        """The reason of this name; OTHER for one that is not in this list."""
        return cls.__members__.get(name, cls.OTHER)
