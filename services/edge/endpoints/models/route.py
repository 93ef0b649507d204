"""GET /v1/models and GET /v1/models/{model}, in OpenAI's shape."""

from __future__ import annotations

from fastapi import APIRouter, Response

from services.edge.endpoints.access import PlatformOf, Reader
from services.edge.endpoints.endpoint import KEYED, Endpoint
from services.edge.endpoints.models.page import shown
from services.edge.endpoints.models.schema import ModelList, ModelObject

router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="List the models that the key may use", response_model=ModelList)
async def list_models(caller: Reader, platform: PlatformOf) -> Response:
    return Response(platform.model_page.encode(platform.gateway.models(caller)), media_type="application/json")


@router.get("/v1/models/{model:path}", summary="Look up one model")
async def get_model(model: str, caller: Reader, platform: PlatformOf) -> ModelObject:
    return shown(platform.gateway.resolve(caller, model))


ENDPOINT = Endpoint(
    router,
    {
        "/v1/models": KEYED,
        "/v1/models/{model}": {403: "The model is not in the key's allow-list", 404: "No such model", **KEYED},
    },
)
