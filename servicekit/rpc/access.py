"""Who may call a method: read from the proto's `callers` option, checked against who the caller is.

With TLS that is what its certificate says, and tokens are not looked at; without, whose token it shows
(docs/decisions/0007-identities.md).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.descriptor import ServiceDescriptor

from muhgpt.options.v1 import callers_pb2
from servicekit.errors import DomainError, Kind, StartupError
from servicekit.settings import ServiceSettings, read_secret
from servicekit.tls.directory import name_of

# Health checks and reflection tell nothing about anybody, and probes carry no token.
OPEN_PACKAGES = ("/grpc.health.v1.", "/grpc.reflection.")

CERTIFIED = {
    name_of("edge"): callers_pb2.CALLER_EDGE,
    name_of("operator"): callers_pb2.CALLER_OPERATOR,
}


class NotAuthenticated(DomainError):
    """No token, or none that this service knows; with TLS a certificate of a role that calls nobody."""

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


def read_tokens(settings: ServiceSettings) -> Tokens | None:
    """The secrets that the settings name; None with TLS, where certificates say who calls.

    Raises StartupError for a secret that is missing or cannot be read.
    """
    if settings.tls_directory is not None:
        return None
    prefix = str(settings.model_config.get("env_prefix", ""))
    secrets = {}
    for caller in ("edge", "operator"):
        path = getattr(settings, f"{caller}_token_file")
        if path is None:
            raise StartupError(f"setting {prefix}{caller.upper()}_TOKEN_FILE is missing, or {prefix}TLS_DIRECTORY")
        secrets[caller] = read_secret(path)
    return Tokens(**secrets)


class AccessList:
    """The callers of every method of a server. `tokens` None: callers are known by their certificates alone."""

    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = tokens
        self._callers: dict[str, frozenset[int]] = {}

    def add(self, service: ServiceDescriptor, name: str) -> None:
        """Reads the options of a service's methods, which are served under this full name."""
        for method in service.methods:
            callers: Iterable[int] = method.GetOptions().Extensions[callers_pb2.callers]  # type: ignore[index]
            self._callers[f"/{name}/{method.name}"] = frozenset(callers)

    def check(self, method: str, authorization: str, certified: Iterable[str]) -> None:
        """Raises NotAuthenticated or NotAllowed.

        method is the full path, "/package.Service/Method"; certified are the DNS names in the caller's certificate.
        """
        if method.startswith(OPEN_PACKAGES):
            return
        callers = self._identify(authorization, certified)
        if not callers & self._callers.get(method, frozenset()):
            names = " and ".join(sorted(callers_pb2.Caller.Name(caller) for caller in callers))
            raise NotAllowed(f"{names} may not call {method}")

    def _identify(self, authorization: str, certified: Iterable[str]) -> frozenset[int]:
        if self._tokens is None:
            known = frozenset(CERTIFIED[name] for name in certified if name in CERTIFIED)
            if not known:
                raise NotAuthenticated(f"show a certificate for one of {', '.join(CERTIFIED)}")
            return known
        caller = self._tokens.caller(authorization)
        if caller is None:
            raise NotAuthenticated("show a valid token in the metadata `authorization: Bearer …`")
        return frozenset((caller,))
