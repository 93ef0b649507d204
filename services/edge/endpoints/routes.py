"""Every endpoint that this edge serves. To add one: its folder, and its line here."""

from __future__ import annotations

from services.edge.endpoints.charges import route as charges
from services.edge.endpoints.chat import route as chat
from services.edge.endpoints.endpoint import Endpoint, HotEndpoint
from services.edge.endpoints.health import route as health
from services.edge.endpoints.models import route as models
from services.edge.endpoints.usage import route as usage

ROUTES: tuple[Endpoint | HotEndpoint, ...] = (
    chat.ENDPOINT,
    models.ENDPOINT,
    usage.ENDPOINT,
    charges.ENDPOINT,
    health.ENDPOINT,
)

HOT = tuple(each for each in ROUTES if isinstance(each, HotEndpoint))
OTHERS = tuple(each for each in ROUTES if isinstance(each, Endpoint))
