"""The list of models as bytes."""

from __future__ import annotations

from collections.abc import Sequence

from services.edge.endpoints.models.schema import Ability, ModelList, ModelObject
from services.edge.serving.gateway import ModelInfo


class ModelPage:
    """Encodes the list that most keys see once, not at each request: 10 µs a model."""

    def __init__(self) -> None:
        self._models: Sequence[ModelInfo] | None = None
        self._encoded = b""

    def encode(self, models: Sequence[ModelInfo]) -> bytes:
        """The JSON body. `models` is not changed later: the same object has the same bytes."""
        if models is not self._models:
            page = ModelList(data=[shown(model) for model in models])
            self._models, self._encoded = models, page.model_dump_json(by_alias=True).encode()
        return self._encoded


def shown(model: ModelInfo) -> ModelObject:
    """One model in OpenAI's shape."""
    return ModelObject(
        id=model.alias,
        created=model.created,
        owned_by=model.owned_by,
        context_length=model.context_length,
        abilities=_abilities(model),
    )


def _abilities(model: ModelInfo) -> list[Ability]:
    abilities: list[tuple[Ability, bool]] = [
        ("tools", model.supports_tools),
        ("vision", model.supports_vision),
        ("json", model.supports_json),
    ]
    return [ability for ability, supported in abilities if supported]
