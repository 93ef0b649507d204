"""A validated OpenAI body as inference's ChatRequest."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from muhgpt.inference.v1 import inference_pb2
from services.edge.chat_request import ChatRequest, ContentPart, Message, NamedToolChoice, ResponseFormat, Tool
from services.edge.http_errors import ApiError

_ROLES = {
    "system": inference_pb2.Message.ROLE_SYSTEM,
    "developer": inference_pb2.Message.ROLE_SYSTEM,
    "user": inference_pb2.Message.ROLE_USER,
    "assistant": inference_pb2.Message.ROLE_ASSISTANT,
    "tool": inference_pb2.Message.ROLE_TOOL,
}
_MODES = {
    "none": inference_pb2.ToolChoice.MODE_NONE,
    "auto": inference_pb2.ToolChoice.MODE_AUTO,
    "required": inference_pb2.ToolChoice.MODE_REQUIRED,
}
_FORMATS = {
    "text": inference_pb2.ResponseFormat.KIND_TEXT,
    "json_object": inference_pb2.ResponseFormat.KIND_JSON_OBJECT,
    "json_schema": inference_pb2.ResponseFormat.KIND_JSON_SCHEMA,
}


def to_proto(request: ChatRequest, model: str) -> inference_pb2.ChatRequest:
    """The request for the canonical model id. Raises ApiError 400 for an image or a schema that cannot be carried."""
    proto = inference_pb2.ChatRequest(
        model=model,
        messages=[_message(message, f"messages[{i}]") for i, message in enumerate(request.messages)],
        parallel_tool_calls=request.parallel_tool_calls is not False,
        parallel_tool_calls_implied=request.parallel_tool_calls is None,
        sampling=_sampling(request),
        reasoning_effort=request.reasoning_effort,
        verbosity=request.verbosity,
        service_tier=request.service_tier,
        prompt_cache_key=request.prompt_cache_key,
        prompt_cache_retention=request.prompt_cache_retention,
        safety_identifier=request.safety_identifier,
        user=request.user,
    )
    if request.tools:
        proto.tools.extend(_tool(tool, f"tools[{i}].function.parameters") for i, tool in enumerate(request.tools))
    if isinstance(request.tool_choice, NamedToolChoice):
        proto.tool_choice.mode = inference_pb2.ToolChoice.MODE_FUNCTION
        proto.tool_choice.name = request.tool_choice.function.name
    elif request.tool_choice is not None:
        proto.tool_choice.mode = _MODES[request.tool_choice]
    if request.response_format is not None:
        proto.response_format.CopyFrom(_response_format(request.response_format))
    return proto


def _message(message: Message, path: str) -> inference_pb2.Message:
    proto = inference_pb2.Message(role=_ROLES[message.role], name=message.name, tool_call_id=message.tool_call_id)
    if isinstance(message.content, str):
        proto.content.add(text=message.content)
    elif message.content is None and message.refusal:
        proto.content.add(text=message.refusal)
    elif message.content is not None:
        proto.content.extend(_part(part, f"{path}.content[{i}]") for i, part in enumerate(message.content))
    for call in message.tool_calls or ():
        proto.tool_calls.add(id=call.id, name=call.function.name, arguments=call.function.arguments)
    return proto


def _part(part: ContentPart, path: str) -> inference_pb2.ContentPart:
    if part.image_url is None or part.type != "image_url":
        return inference_pb2.ContentPart(text=part.words)
    url, detail = part.image_url.url, part.image_url.detail or "auto"
    param = f"{path}.image_url.url"
    scheme = url[:8].lower()
    if scheme.startswith(("http://", "https://")):
        return inference_pb2.ContentPart(image=inference_pb2.Image(url=url, detail=detail))
    if scheme.startswith("data:"):
        return inference_pb2.ContentPart(image=inference_pb2.Image(data=_decoded(url, param), detail=detail))
    raise _wrong_url(f"'{param}' must start with https://, http:// or data:image/.", param)


def _decoded(uri: str, param: str) -> bytes:
    """The bytes of a data: URI (RFC 2397); only base64 is taken, as OpenAI does."""
    header, comma, payload = uri.partition(",")
    if not comma or not header.lower().endswith(";base64"):
        raise _wrong_url(f"'{param}' must be of the form data:image/png;base64,… .", param)
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong_url(f"'{param}' is not valid base64.", param) from None
    if not data:
        raise _wrong_url(f"'{param}' holds no image.", param)
    return data


def _wrong_url(message: str, param: str) -> ApiError:
    return ApiError.invalid(message, param=param, code="invalid_image_url")


def _tool(tool: Tool, param: str) -> inference_pb2.Tool:
    function = tool.function
    return inference_pb2.Tool(
        name=function.name,
        description=function.description,
        parameters=_json(function.parameters, param),
        strict=function.strict,
    )


def _response_format(form: ResponseFormat) -> inference_pb2.ResponseFormat:
    proto = inference_pb2.ResponseFormat(kind=_FORMATS[form.type])
    if form.type == "json_schema" and form.json_schema is not None:
        proto.name = form.json_schema.name
        proto.schema = _json(form.json_schema.schema_, "response_format.json_schema.schema")
        proto.strict = bool(form.json_schema.strict)
    return proto


def _json(schema: dict[str, Any] | None, param: str) -> str:
    """JSON text; the parser lets NaN and Infinity through, which no JSON Schema can mean."""
    if schema is None:
        return ""
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise ApiError.invalid(f"'{param}' holds a number that JSON cannot carry.", param=param) from None


def _sampling(request: ChatRequest) -> inference_pb2.Sampling:
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    bias = {int(token): value for token, value in request.logit_bias.items()} if request.logit_bias else None
    return inference_pb2.Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        stop=stop,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        seed=request.seed,
        choices=request.choices,
        logprobs=bool(request.logprobs),
        top_logprobs=request.top_logprobs,
        logit_bias=bias,
    )
