"""What the FastAPI routes share: who calls, and the pipeline behind them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from servicekit.clock import Clock
from services.edge.endpoints.identify import identify
from services.edge.endpoints.models.page import ModelPage
from services.edge.http.exchange import Exchange
from services.edge.http.limits import Limits
from services.edge.http.read_limit import ReadLimit
from services.edge.serving.gateway import Caller, Gateway

# For /openapi.json only: the pipeline itself reads the header.
_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="An API key, mghp_…")


class Platform:
    """What a route may use; the application's state."""

    def __init__(self, gateway: Gateway, clock: Clock, reads_per_minute: int, budget: Limits) -> None:
        self.gateway = gateway
        self.clock = clock
        self.budget = budget
        self.model_page = ModelPage()
        self.reads = ReadLimit(clock, reads_per_minute)


def platform_of(request: Request) -> Platform:
    """The application's Platform."""
    platform: Platform = request.app.state.platform
    return platform


PlatformOf = Annotated[Platform, Depends(platform_of)]


async def reader(request: Request, platform: PlatformOf, _shown: Annotated[Any, Security(_bearer)] = None) -> Caller:
    """The caller of a read endpoint. Raises ApiError and Failures: 401, 503, or 429 past the endpoints' own bound."""
    exchange: Exchange = request.scope["exchange"]
    caller = await identify(exchange, platform.gateway, platform.budget)
    exchange.identified(caller.principal.account_id, caller.principal.key_id)
    platform.reads.take(caller.principal.account_id)
    return caller


Reader = Annotated[Caller, Depends(reader)]
