"""Rules of a chat request that span several fields. Each failure is a 400 whose param names the field."""

from __future__ import annotations

from services.edge.endpoints.chat.conversation import check_turns
from services.edge.endpoints.chat.request import (
    ChatRequest,
    ContentPart,
    Message,
    NamedToolChoice,
    OpenBody,
    ResponseFormat,
    ToolCall,
)
from services.edge.http.errors import ApiError
from services.edge.http.limits import RequestLimits
from services.edge.http.parsing.scan import check_nesting

MAX_UNKNOWN = 64  # fields of a tool
MAX_NAME = 64  # characters of a client's field name that an error shows

# What this API does not do, and what to send or leave out instead. Ignored, each would give a wrong answer.
UNSUPPORTED = {
    "functions": "'functions' is not supported. Send 'tools', which replaced it.",
    "function_call": "'function_call' is not supported. Send 'tool_choice', which replaced it, with 'tools'.",
    "web_search_options": "'web_search_options' is not supported: the models search nothing. Leave it out.",
}
# What other vendors call a function's schema or what holds its arguments. Fields that mean something else
# (cache_control, …) are ignored.
_SNAKES = (
    *("input_schema", "parameters_json_schema", "json_schema", "schema", "args_schema", "arguments_schema"),
    *("response_schema", "response_json_schema", "output_schema"),
    *("grammar", "guided_grammar", "guided_json", "guided_regex", "regex", "pattern", "structural_tag"),
)
_CAMELS = (name[0] + name.title().replace("_", "")[1:] for name in _SNAKES)
DIALECTS_OF_TOOLS = frozenset((*_SNAKES, *_CAMELS))
MISPLACED_IN_TOOLS = frozenset({"parameters", "strict"})  # they belong in the tool's function
UNSUPPORTED_IN_MESSAGES = {
    "function_call": "'{path}' is not supported. Send 'tool_calls', which replaced it.",
    "audio": "'{path}' is not supported: this API takes no audio. Send what was said as text.",
    "prefix": "'{path}' is not supported: an answer cannot continue a message. Leave it out.",
    "partial": "'{path}' is not supported: an answer cannot continue a message. Leave it out.",
}


def check(request: ChatRequest, limits: RequestLimits) -> None:
    """Raises ApiError 400 for the first rule that the request breaks."""
    for index, message in enumerate(request.messages):
        _check_message(message, index)
        if message.tool_calls:
            _check_arguments(message.tool_calls, index, limits.nesting)
    check_turns(request.messages)
    for name, text in UNSUPPORTED.items():
        if getattr(request, name) is not None:
            raise ApiError.invalid(text, param=name)
    _check_limits(request)
    _check_tools(request)
    _check_answer(request)


def _check_message(message: Message, index: int) -> None:
    content, role = message.content, message.role
    if message.function_call is not None or message.audio is not None or message.prefix or message.partial:
        raise _unsupported(message, f"messages[{index}]")
    if content is None and not (role == "assistant" and (message.tool_calls or message.refusal)):
        raise _missing(f"messages[{index}].content")
    if role == "tool" and not message.tool_call_id:
        raise _missing(f"messages[{index}].tool_call_id")
    if role != "assistant":
        _check_not_assistants(message, f"messages[{index}]")
    if content is None or isinstance(content, str):
        return
    if not content:
        path = f"messages[{index}].content"
        raise ApiError.invalid(f"'{path}' must not be an empty array.", param=path)
    for place, part in enumerate(content):
        if part.type != "text" or part.text is None or part.image_url or part.refusal:
            _check_part(part, role, f"messages[{index}].content[{place}]")


def _unsupported(message: Message, path: str) -> ApiError:
    values = {name: getattr(message, name) for name in UNSUPPORTED_IN_MESSAGES}
    harmless = {"prefix": False, "partial": False}
    name = next(name for name, value in values.items() if value is not None and value is not harmless.get(name))
    return ApiError.invalid(UNSUPPORTED_IN_MESSAGES[name].format(path=f"{path}.{name}"), param=f"{path}.{name}")


def _check_arguments(calls: list[ToolCall], index: int, nesting: int) -> None:
    """What a model called earlier may be cut, empty or no JSON at all, and is carried as it is; engines parse it."""
    for place, call in enumerate(calls):
        path = f"messages[{index}].tool_calls[{place}].function.arguments"
        check_nesting(call.function.arguments, path, nesting)


def _check_not_assistants(message: Message, path: str) -> None:
    if message.tool_calls:
        raise ApiError.invalid("Only an assistant's message may have tool calls.", param=f"{path}.tool_calls")
    if message.refusal:
        raise ApiError.invalid("Only an assistant's message may have a refusal.", param=f"{path}.refusal")


def _check_part(part: ContentPart, role: str, path: str) -> None:
    if part.type == "image_url" and role != "user":
        raise ApiError.invalid(f"Only a user's message may have images; this one's role is {role}.", param=path)
    if part.type == "refusal" and role != "assistant":
        raise ApiError.invalid(f"Only an assistant's message may have refusals; this one's role is {role}.", param=path)
    if getattr(part, part.type) is None:  # each type's value is in the field of its name
        raise _missing(f"{path}.{part.type}")
    for name in ("text", "image_url", "refusal"):
        if name != part.type and getattr(part, name):
            text = f"A part of type '{part.type}' must not have '{name}'; send another part."
            raise ApiError.invalid(text, param=f"{path}.{name}")


def _check_limits(request: ChatRequest) -> None:
    old, new = request.max_tokens, request.max_completion_tokens
    if old is not None and new is not None and old != new:
        text = "'max_tokens' and 'max_completion_tokens' are the same limit but differ; send one of them."
        raise ApiError.invalid(text, param="max_completion_tokens")


def _check_tools(request: ChatRequest) -> None:
    names: set[str] = set()
    for index, tool in enumerate(request.tools or ()):
        if tool.function.name in names:
            raise ApiError.invalid("Two tools have the same name.", param=f"tools[{index}].function.name")
        names.add(tool.function.name)
        _check_dialect(tool, f"tools[{index}]", DIALECTS_OF_TOOLS | MISPLACED_IN_TOOLS)
        _check_dialect(tool.function, f"tools[{index}].function", DIALECTS_OF_TOOLS)
    choice = request.tool_choice
    if isinstance(choice, NamedToolChoice):
        _check_known(choice, "tool_choice")
        _check_known(choice.function, "tool_choice.function")
    if choice == "required" and not names:
        raise ApiError.invalid("'tool_choice' needs 'tools' to choose from.", param="tool_choice")
    if isinstance(choice, NamedToolChoice) and choice.function.name not in names:
        raise ApiError.invalid("'tool_choice' names no function in 'tools'.", param="tool_choice.function.name")


def _check_answer(request: ChatRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise ApiError.invalid("'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    if request.top_logprobs is not None and not request.logprobs:
        raise ApiError.invalid("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    if request.response_format is not None:
        _check_format(request.response_format)


def _check_format(form: ResponseFormat) -> None:
    """Other vendors have more fields here; ignored, each would give an answer that is not held to what was asked."""
    _check_known(form, "response_format")
    if form.schema_ is not None and form.type != "json_object":
        text = "'response_format.schema' belongs in 'response_format.json_schema' with the type json_schema."
        raise ApiError.invalid(text, param="response_format.schema")
    if form.json_schema is not None and form.type != "json_schema":
        text = "'response_format.json_schema' needs 'response_format.type' to be json_schema."
        raise ApiError.invalid(text, param="response_format.json_schema")
    if form.type == "json_schema":
        if form.json_schema is None:
            raise _missing("response_format.json_schema")
        _check_known(form.json_schema, "response_format.json_schema")
        if form.json_schema.schema_ is None:
            raise _missing("response_format.json_schema.schema")


def _check_known(value: OpenBody, path: str) -> None:
    """In these objects anything unknown would change the answer, whatever it is called."""
    for name in value.extra:
        raise _unknown(path, name)


def _check_dialect(value: OpenBody, path: str, refused: frozenset[str]) -> None:
    if len(value.model_extra or ()) > MAX_UNKNOWN:
        raise ApiError.invalid(f"'{path}' has more than {MAX_UNKNOWN} unknown fields.", param=path)
    for name in value.extra:
        if name in refused:
            raise _unknown(path, name)


def _unknown(path: str, name: str) -> ApiError:
    path = f"{path}.{name if len(name) <= MAX_NAME else name[:MAX_NAME] + '…'}"
    text = f"'{path}' is not supported. It would change the answer, so it is not ignored; leave it out."
    return ApiError.invalid(text, param=path)


def _missing(path: str) -> ApiError:
    return ApiError.invalid(f"Missing required field '{path}'.", param=path)
