"""A request as plain JSON for whoever counts it, in this process or another: an image is null."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.inference.domain.chat import ChatRequest, FormatKind, Message, Picture


def to_conversation(request: ChatRequest, tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Messages, tools as they are sent (request.py), and the answer's schema, which is still JSON text."""
    schema = request.response_format.schema if request.response_format.kind is FormatKind.JSON_SCHEMA else ""
    return {"messages": [_message(message) for message in request.messages], "tools": [*tools], "schema": schema}


def size_of(request: ChatRequest) -> int:
    """Characters that counting has to read, about."""
    texts = sum(len(part) for message in request.messages for part in message.content if isinstance(part, str))
    calls = sum(len(call.name) + len(call.arguments) for message in request.messages for call in message.tool_calls)
    tools = sum(len(tool.name) + len(tool.description) + len(tool.parameters) for tool in request.tools)
    pieces = sum(8 * (1 + len(message.content) + len(message.tool_calls)) for message in request.messages)
    return texts + calls + tools + pieces + len(request.response_format.schema)


def pictures_of(request: ChatRequest) -> list[tuple[int, int]]:
    """Width and height in pixels of each image; 0 where they are not known."""
    parts = [part for message in request.messages for part in message.content if not isinstance(part, str)]
    return [(part.width, part.height) if isinstance(part, Picture) else (0, 0) for part in parts]


def _message(message: Message) -> dict[str, Any]:
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    return {
        "role": message.role.value,
        "content": [part if isinstance(part, str) else None for part in message.content],
        "name": message.name,
        "tool_calls": calls,
        "tool_call_id": message.tool_call_id,
    }
