"""A request as plain JSON for whoever counts it, in this process or another: an image is null."""

from __future__ import annotations

from typing import Any

from services.inference.domain.chat import ChatRequest, FormatKind, Message, Picture, Tool


def to_conversation(request: ChatRequest) -> dict[str, Any]:
    """Messages, tools and the answer's schema; `parameters` and `schema` are still JSON text."""
    tools = [_tool(tool) for tool in request.tools] if request.may_call_tools else []
    schema = request.response_format.schema if request.response_format.kind is FormatKind.JSON_SCHEMA else ""
    return {"messages": [_message(message) for message in request.messages], "tools": tools, "schema": schema}


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


def _tool(tool: Tool) -> dict[str, Any]:
    strict = tool.strict or None  # as request.py sends it
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters, "strict": strict}


def _message(message: Message) -> dict[str, Any]:
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    return {
        "role": message.role.value,
        "content": [part if isinstance(part, str) else None for part in message.content],
        "name": message.name,
        "tool_calls": calls,
        "tool_call_id": message.tool_call_id,
    }
