"""A chat request in OpenAI's own words, with nothing added, left out or changed."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from services.inference.domain.chat import (
    ChatRequest,
    FormatKind,
    Image,
    Message,
    Picture,
    ResponseFormat,
    Sampling,
    Tool,
    ToolChoice,
    ToolMode,
)
from services.inference.domain.errors import InvalidRequest


def chat_body(request: ChatRequest, model: str) -> dict[str, Any]:
    """The body of /chat/completions, without how many tokens and how it is streamed. Raises InvalidRequest."""
    body: dict[str, Any] = {"model": model, "messages": [_message(message) for message in request.messages]}
    if request.tools:
        body["tools"] = [_tool(tool, index) for index, tool in enumerate(request.tools)]
        body["tool_choice"] = _tool_choice(request.tool_choice)
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.response_format.kind is not FormatKind.TEXT:
        body["response_format"] = _format(request.response_format)
    return body | _sampling(request.sampling)


def _message(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role.value, "content": _content(message)}
    if message.name:
        body["name"] = message.name
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return body


def _content(message: Message) -> str | list[dict[str, Any]] | None:
    if not message.content:
        return None if message.tool_calls else ""
    if len(message.content) == 1 and isinstance(message.content[0], str):
        return message.content[0]
    return [_part(part) for part in message.content]


def _part(part: str | Image | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    assert isinstance(part, Picture)  # domain/abilities.py let no other image through
    url = f"data:image/jpeg;base64,{base64.b64encode(part.jpeg).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _tool(tool: Tool, index: int) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        problem = f"the parameters of the tool {tool.name!r} are not a JSON object"
        function["parameters"] = _object(tool.parameters, problem, f"tools[{index}].function.parameters")
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode is ToolMode.FUNCTION:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode.value


def _format(response_format: ResponseFormat) -> dict[str, Any]:
    if response_format.kind is FormatKind.JSON_OBJECT:
        return {"type": "json_object"}
    problem = "the schema of response_format is not a JSON object"
    schema: dict[str, Any] = {"name": response_format.name or "answer"}
    if response_format.schema:
        schema["schema"] = _object(response_format.schema, problem, "response_format.json_schema.schema")
    if response_format.strict:
        schema["strict"] = True
    return {"type": "json_schema", "json_schema": schema}


def _object(text: str, problem: str, param: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(problem, param=param)
    return value


def _sampling(sampling: Sampling) -> dict[str, Any]:
    values: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "n": sampling.choices if sampling.choices > 1 else None,
        "logit_bias": {str(token): bias for token, bias in sampling.logit_bias.items()} or None,
    }
    if sampling.logprobs:
        values |= {"logprobs": True, "top_logprobs": sampling.top_logprobs or None}
    return {name: value for name, value in values.items() if value is not None}
