"""GET /v1/models and GET /v1/models/{model}, in OpenAI's shape."""

from __future__ import annotations

from fastapi import APIRouter

from services.edge.endpoints.access import PlatformOf, Reader
from services.edge.endpoints.schemas import Ability, ModelList, ModelObject
from services.edge.serving.gateway import ModelInfo

router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="List the models that the key may use")
async def list_models(caller: Reader, platform: PlatformOf) -> ModelList:
    return ModelList(data=[_shown(model) for model in platform.gateway.models(caller)])


@router.get("/v1/models/{model:path}", summary="Look up one model")
async def get_model(model: str, caller: Reader, platform: PlatformOf) -> ModelObject:
    return _shown(platform.gateway.resolve(caller, model))


def _shown(model: ModelInfo) -> ModelObject:
    return ModelObject(
        id=model.alias,
        created=model.created,
        owned_by=model.owned_by,
        context_length=model.context_length,
        abilities=_abilities(model),
    )


def _abilities(model: ModelInfo) -> list[Ability]:
    told: list[tuple[Ability, bool]] = [
        ("tools", model.supports_tools),
        ("vision", model.supports_vision),
        ("json", model.supports_json),
    ]
    return [ability for ability, has in told if has]
