"""A chat request in OpenAI's own words. Changed is only what a server would otherwise take for something else."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any

import orjson

from services.inference.domain.chat import (
    HINTS,
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
from services.inference.engines.upstream.schemas import refuse_what_is_not_held, without_refused

# Which hints a server takes, beside OpenAI itself; the others ignore them or refuse the request.
HINTS_OF = {"vllm": ("reasoning_effort",), "sglang": ("reasoning_effort",), "llama.cpp": ()}
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


def chat_body(
    request: ChatRequest, model: str, server: str = "openai", unsupported: Collection[str] = ()
) -> dict[str, Any]:
    """The body of /chat/completions, without how many tokens and how it is streamed. Raises InvalidRequest.

    `server` is one of the model list's SERVERS, `unsupported` names fields that this one must not be sent.
    """
    body: dict[str, Any] = {"model": model, "messages": [_message(message) for message in request.messages]}
    body |= _tools(request, server)
    if request.response_format.kind is not FormatKind.TEXT:
        body["response_format"] = _format(request.response_format, server)
    hints = HINTS_OF.get(server, HINTS)
    body |= _sampling(request.sampling) | {name: text for name, text in request.hints.items() if name in hints}
    return {name: value for name, value in body.items() if name not in unsupported}


def _tools(request: ChatRequest, server: str) -> dict[str, Any]:
    """`tools` and what belongs to them; what the client did not send is left out.

    Servers of one's own show the model its tools though it must not call any, and what it writes then is text. So they
    are given none. OpenAI's keep them in the prompt and call none.
    """
    if not request.tools or (request.tool_choice.mode is ToolMode.NONE and server != "openai"):
        return {}
    choice = request.tool_choice
    tools = [_tool(tool, index, server, _held(tool, choice, server)) for index, tool in enumerate(request.tools)]
    body: dict[str, Any] = {"tools": tools}
    if choice.asked:
        body["tool_choice"] = _tool_choice(choice)
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return body


def _held(tool: Tool, choice: ToolChoice, server: str) -> bool:
    """Whether the server must be told to hold the arguments to the schema: vLLM holds no forced call otherwise."""
    return server == "vllm" and choice.forced and choice.name in ("", tool.name)


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


def _tool(tool: Tool, index: int, server: str, held: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        problem = f"the parameters of the tool {tool.name!r} are not a JSON object"
        param = f"tools[{index}].function.parameters"
        schema = _object(tool.parameters, problem, param)
        function["parameters"] = _for_vllm(schema, bool(tool.strict), param) if server == "vllm" else schema
    if held:
        function["parameters"] = function.get("parameters") or NO_ARGUMENTS
    if held or tool.strict is not None:
        function["strict"] = held or tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode is ToolMode.FUNCTION:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode.value


def _format(response_format: ResponseFormat, server: str) -> dict[str, Any]:
    if response_format.kind is FormatKind.JSON_OBJECT:
        return {"type": "json_object"}
    problem = "the schema of response_format is not a JSON object"
    schema: dict[str, Any] = {"name": response_format.name or "answer"}
    if response_format.schema:
        param = "response_format.json_schema.schema"
        told = _object(response_format.schema, problem, param)
        schema["schema"] = _for_vllm(told, response_format.strict, param) if server == "vllm" else told
    if response_format.strict:
        schema["strict"] = True
    return {"type": "json_schema", "json_schema": schema}


def _for_vllm(schema: dict[str, Any], strict: bool, param: str) -> dict[str, Any]:
    """The schema as vLLM takes it. `strict`: the client wants to be refused what cannot be held."""
    if strict:
        refuse_what_is_not_held(schema, param)
        return schema
    return without_refused(schema)


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
