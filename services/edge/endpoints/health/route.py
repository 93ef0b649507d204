"""/healthz: the process runs. /readyz: it can answer requests."""

from __future__ import annotations

from fastapi import APIRouter

from services.edge.endpoints.access import PlatformOf
from services.edge.endpoints.endpoint import Endpoint
from services.edge.endpoints.health.schema import Health
from services.edge.http.errors import ApiError

router = APIRouter(tags=["operation"])


@router.get("/healthz", summary="Liveness")
async def healthz() -> Health:
    return Health(status="ok")


@router.get("/readyz", summary="Readiness: auth, quota and inference were reached, and the edge is not draining")
async def readyz(platform: PlatformOf) -> Health:
    if not platform.gateway.ready:
        raise ApiError.service_unavailable("Not ready: auth, quota or inference was never reached, or draining.")
    return Health(status="ok" if platform.gateway.serving else "degraded")


ENDPOINT = Endpoint(router, {"/readyz": {503: "A service behind the edge cannot be reached"}})
