"""What an endpoint's folder gives to the application: routes.py lists it, app.py serves it, openapi.py describes it.

Endpoints whose answers inference generates are hot: plain ASGI, since microseconds count there (ARCHITECTURE.md,
speed). All others are routers of FastAPI's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import APIRouter

from servicekit.clock import Clock
from servicekit.timer_wheel import TimerWheel
from services.edge.http.exchange import Exchange, Receive
from services.edge.http.limits import Limits
from services.edge.http.parsing.body_format import BodyFormat
from services.edge.http.parsing.parser import BodyParser
from services.edge.serving.gateway import Gateway

Schemas = dict[str, Any]
Errors = Mapping[int, str]  # status -> what /openapi.json says of it

COMPONENTS = "#/components/schemas/"
KEYED: Errors = {
    401: "The key is missing, malformed, unknown, revoked or expired",
    429: "Too many requests; Retry-After says when to come back",
    503: "Auth or quota cannot be asked, or the server is stopping",
}


@dataclass(frozen=True, slots=True)
class HotLimits:
    """What a request for an answer may be and take: bytes and seconds."""

    max_body_bytes: int = 20 * 1024 * 1024
    request_timeout: float = 600.0
    heartbeat: float = 15.0


@dataclass(frozen=True, slots=True)
class HotTools:
    """What a hot endpoint is made with, one of each for an edge worker."""

    gateway: Gateway
    clock: Clock
    limits: HotLimits
    budget: Limits
    parser: BodyParser
    timers: TimerWheel


class HotRoute(Protocol):
    """Answers the requests of one hot endpoint."""

    async def serve(self, exchange: Exchange, receive: Receive) -> None:
        """Answers one request. Raises ApiError, a Failure, or ClientGone when nobody is left to answer."""
        ...


@dataclass(frozen=True, slots=True)
class HotEndpoint:
    """One path and method in plain ASGI."""

    path: str
    method: str
    body: BodyFormat[Any]
    make: Callable[[HotTools], HotRoute]
    errors: Errors
    operation: Callable[[], Schemas]  # for /openapi.json: the operation without errors and headers …
    schemas: Callable[[], Schemas]  # … and the schemas that it refers to


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Routes of FastAPI's, and the errors of each path."""

    router: APIRouter
    errors: Mapping[str, Errors]


def json_content(schema: str) -> Schemas:
    """A JSON body of this schema."""
    return {"application/json": {"schema": {"$ref": COMPONENTS + schema}}}
