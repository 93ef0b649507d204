"""What a model can do, asked before its engine works: a request for more is told which field it may not have."""

from __future__ import annotations

from services.inference.domain.chat import ChatRequest, FormatKind, Image
from services.inference.domain.errors import InvalidRequest
from services.inference.domain.images import refuse_images


def check_abilities(request: ChatRequest, model: str, abilities: frozenset[str]) -> None:
    """Raises InvalidRequest, naming the field, for whatever the model cannot do."""
    if "vision" not in abilities:
        refuse_images(request, model)
    if any(isinstance(part, Image) for message in request.messages for part in message.content):
        raise TypeError("an image that was not decoded here must not reach the engine (docs/engine.md)")
    if request.may_call_tools and "tools" not in abilities:
        raise InvalidRequest(f"the model {model} cannot call tools", param="tools")
    if request.response_format.kind is not FormatKind.TEXT and "json" not in abilities:
        raise InvalidRequest(f"the model {model} cannot be held to JSON", param="response_format")
