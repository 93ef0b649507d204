"""A validated OpenAI body as inference's ChatRequest."""

from __future__ import annotations

from muhgpt.inference.v1 import inference_pb2
from services.edge.endpoints.chat import data_url
from services.edge.endpoints.chat.request import ChatRequest, ImageUrl, Message, NamedToolChoice, ResponseFormat, Tool
from services.edge.endpoints.chat.schema_text import schema_text
from services.edge.http.errors import ApiError
from services.edge.http.limits import RequestLimits

DEFAULT_NESTING = RequestLimits().nesting
_UNNAMED = "response"  # the name of a schema whose client gave it none
_LEADING = "".join(map(chr, range(33)))  # browsers skip control characters and spaces before a URL

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


def to_proto(request: ChatRequest, model: str, nesting: int = DEFAULT_NESTING) -> inference_pb2.ChatRequest:
    """The request for the canonical model id. Schemas are at most `nesting` levels deep.

    Raises ApiError 400 for an image or a schema that cannot be carried.
    """
    proto = inference_pb2.ChatRequest(
        model=model,
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
    for index, message in enumerate(request.messages):
        _add_message(proto, message, index)
    for index, tool in enumerate(request.tools or ()):
        param = f"tools[{index}].function.parameters"
        _add_tool(proto, tool, schema_text(tool.function.parameters, param, nesting))
    if isinstance(request.tool_choice, NamedToolChoice):
        proto.tool_choice.mode = inference_pb2.ToolChoice.MODE_FUNCTION
        proto.tool_choice.name = request.tool_choice.function.name
    elif request.tool_choice is not None:
        proto.tool_choice.mode = _MODES[request.tool_choice]
    if request.response_format is not None:
        proto.response_format.CopyFrom(_response_format(request.response_format, nesting))
    return proto


def _add_message(proto: inference_pb2.ChatRequest, message: Message, index: int) -> None:
    turn = proto.messages.add(role=_ROLES[message.role], name=message.name, tool_call_id=message.tool_call_id)
    if isinstance(message.content, str):
        turn.content.add(text=message.content)
    elif message.content is None and message.refusal:
        turn.content.add(text=message.refusal)
    elif message.content is not None:
        for place, part in enumerate(message.content):
            if part.image_url is None or part.type != "image_url":
                turn.content.add(text=part.words)
            else:
                turn.content.add(image=_image(part.image_url, f"messages[{index}].content[{place}].image_url.url"))
    for call in message.tool_calls or ():
        turn.tool_calls.add(id=call.id, name=call.function.name, arguments=call.function.arguments)


def _image(image: ImageUrl, param: str) -> inference_pb2.Image:
    url, detail = image.url.lstrip(_LEADING), image.detail or "auto"
    scheme = url[:8].lower()
    if scheme.startswith(("http://", "https://")):
        return inference_pb2.Image(url=url, detail=detail)
    if not scheme.startswith("data:"):
        raise _wrong_url(f"'{param}' must start with https://, http:// or data:image/.", param)
    try:
        return inference_pb2.Image(data=data_url.decode(url), detail=detail)
    except ValueError as error:
        raise _wrong_url(f"'{param}' {error}.", param) from None


def _wrong_url(message: str, param: str) -> ApiError:
    return ApiError.invalid(message, param=param, code="invalid_image_url")


def _add_tool(proto: inference_pb2.ChatRequest, tool: Tool, parameters: str) -> None:
    function = tool.function
    proto.tools.add(name=function.name, description=function.description, parameters=parameters, strict=function.strict)


def _response_format(form: ResponseFormat, nesting: int) -> inference_pb2.ResponseFormat:
    proto = inference_pb2.ResponseFormat(kind=_FORMATS[form.type])
    if form.type == "json_schema" and form.json_schema is not None:
        proto.name = form.json_schema.name
        proto.schema = schema_text(form.json_schema.schema_, "response_format.json_schema.schema", nesting)
        proto.strict = bool(form.json_schema.strict)
    elif form.type == "json_object" and form.schema_ is not None:  # as llama.cpp's server and others write it
        proto.kind, proto.name = inference_pb2.ResponseFormat.KIND_JSON_SCHEMA, _UNNAMED
        proto.schema = schema_text(form.schema_, "response_format.schema", nesting)
    return proto


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
