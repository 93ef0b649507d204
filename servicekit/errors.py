"""Errors as nouns. Domain code raises them; servicekit/rpc/status.py carries them across gRPC."""

from __future__ import annotations

import enum
from typing import ClassVar


class Kind(enum.Enum):
    """What class of failure an error is; one gRPC status each (servicekit/rpc/status.py)."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    PRECONDITION = "precondition"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    EXHAUSTED = "exhausted"
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline"


class DomainError(Exception):
    """Base of every error that may cross a service's boundary with its text.

    `reason` is the machine-readable name that the proto promises; the message is for people and must hold no secret.
    Anything raised that is not a DomainError crosses as INTERNAL without text.
    """

    kind: ClassVar[Kind]
    reason: ClassVar[str]

    def __init__(self, message: str, *, retry_after: float | None = None, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after  # seconds
        self.metadata = metadata


class DatabaseUnavailable(DomainError):
    """The database did not answer; the outcome of a write is unknown."""

    kind = Kind.UNAVAILABLE
    reason = "DATABASE_UNAVAILABLE"


class StartupError(Exception):
    """The process cannot start. The message says what, where, and what to do; no stack trace is shown for it."""
