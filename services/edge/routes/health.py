"""/healthz: the process runs. /readyz: it would serve a request. /metrics: Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.edge.http.metrics import exposition
from services.edge.http_errors import ApiError
from services.edge.routes.access import PlatformOf
from services.edge.routes.schemas import Health

router = APIRouter(tags=["operation"])


@router.get("/healthz", summary="Liveness")
async def healthz() -> Health:
    return Health(status="ok")


@router.get("/readyz", summary="Readiness: auth, quota and inference can be reached")
async def readyz(platform: PlatformOf) -> Health:
    if not platform.gateway.ready:
        raise ApiError.service_unavailable("Not ready: auth, quota or inference cannot be reached, or draining.")
    return Health(status="ok")


@router.get("/metrics", summary="Prometheus metrics of all workers", response_class=Response)
async def metrics(request: Request) -> Response:
    if not request.app.state.public_metrics:
        raise ApiError.not_found("GET", "/metrics")
    content, media_type = exposition()
    return Response(content, headers={"content-type": media_type})
