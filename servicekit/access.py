"""Who may call a method: read from the proto's `callers` option, checked against the token that the caller shows."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.descriptor import ServiceDescriptor

from muhgpt.options.v1 import callers_pb2
from servicekit.errors import DomainError, Kind

# Health checks and reflection tell nothing about anybody, and probes carry no token.
OPEN_PACKAGES = ("/grpc.health.v1.", "/grpc.reflection.")


class NotAuthenticated(DomainError):
    """No token, or none that this service knows."""

    kind = Kind.UNAUTHENTICATED
    reason = "CALLER_UNKNOWN"


class NotAllowed(DomainError):
    """A known caller that may not call this method."""

    kind = Kind.FORBIDDEN
    reason = "CALLER_NOT_ALLOWED"


@dataclass(frozen=True)
class Tokens:
    """The secrets by which callers are known."""

    edge: str
    operator: str

    def caller(self, authorization: str) -> int | None:
        """The Caller that an `authorization` metadata value belongs to; None when to nobody."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        if hmac.compare_digest(token.encode(), self.operator.encode()):
            return callers_pb2.CALLER_OPERATOR
        if hmac.compare_digest(token.encode(), self.edge.encode()):
            return callers_pb2.CALLER_EDGE
        return None


class AccessList:
    """The callers of every method of a server."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._callers: dict[str, frozenset[int]] = {}

    def add(self, service: ServiceDescriptor) -> None:
        """Reads the options of a service's methods."""
        for method in service.methods:
            callers: Iterable[int] = method.GetOptions().Extensions[callers_pb2.callers]  # type: ignore[index]
            self._callers[f"/{service.full_name}/{method.name}"] = frozenset(callers)

    def check(self, method: str, authorization: str) -> None:
        """Raises NotAuthenticated or NotAllowed; method is the full path, "/package.Service/Method"."""
        if method.startswith(OPEN_PACKAGES):
            return
        caller = self._tokens.caller(authorization)
        if caller is None:
            raise NotAuthenticated("show a valid token in the metadata `authorization: Bearer …`")
        if caller not in self._callers.get(method, ()):
            raise NotAllowed(f"{callers_pb2.Caller.Name(caller)} may not call {method}")
