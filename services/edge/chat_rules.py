"""Rules of a chat request that span several fields. Each failure is a 400 whose param names the field."""

from __future__ import annotations

from services.edge.chat_request import ChatRequest, ContentPart, Message, NamedToolChoice
from services.edge.conversation import check_turns
from services.edge.http_errors import ApiError

# What this API does not do, and what to send or leave out instead. Ignored, each would give a wrong answer.
UNSUPPORTED = {
    "functions": "'functions' is not supported. Send 'tools', which replaced it.",
    "function_call": "'function_call' is not supported. Send 'tool_choice', which replaced it, with 'tools'.",
    "web_search_options": "'web_search_options' is not supported: the models search nothing. Leave it out.",
}
UNSUPPORTED_IN_MESSAGES = {
    "function_call": "'{path}' is not supported. Send 'tool_calls', which replaced it.",
    "audio": "'{path}' is not supported: this API takes no audio. Send what was said as text.",
}


def check(request: ChatRequest) -> None:
    """Raises ApiError 400 for the first rule that the request breaks."""
    for index, message in enumerate(request.messages):
        _check_message(message, f"messages[{index}]")
    check_turns(request.messages)
    for name, text in UNSUPPORTED.items():
        if getattr(request, name) is not None:
            raise ApiError.invalid(text, param=name)
    _check_limits(request)
    _check_tools(request)
    _check_answer(request)


def _check_message(message: Message, path: str) -> None:
    content, role = message.content, message.role
    for name, text in UNSUPPORTED_IN_MESSAGES.items():
        if getattr(message, name) is not None:
            raise ApiError.invalid(text.format(path=f"{path}.{name}"), param=f"{path}.{name}")
    if content is None and not (role == "assistant" and (message.tool_calls or message.refusal)):
        raise _missing(f"{path}.content")
    if role == "tool" and not message.tool_call_id:
        raise _missing(f"{path}.tool_call_id")
    if role != "assistant":
        _check_not_assistants(message, path)
    if content is None or isinstance(content, str):
        return
    if not content:
        raise ApiError.invalid(f"'{path}.content' must not be an empty array.", param=f"{path}.content")
    for index, part in enumerate(content):
        _check_part(part, role, f"{path}.content[{index}]")


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
    choice = request.tool_choice
    if choice == "required" and not names:
        raise ApiError.invalid("'tool_choice' needs 'tools' to choose from.", param="tool_choice")
    if isinstance(choice, NamedToolChoice) and choice.function.name not in names:
        raise ApiError.invalid("'tool_choice' names no function in 'tools'.", param="tool_choice.function.name")


def _check_answer(request: ChatRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise ApiError.invalid("'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    if request.top_logprobs is not None and not request.logprobs:
        raise ApiError.invalid("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    form = request.response_format
    if form is not None and form.type == "json_schema":
        if form.json_schema is None:
            raise _missing("response_format.json_schema")
        if form.json_schema.schema_ is None:
            raise _missing("response_format.json_schema.schema")


def _missing(path: str) -> ApiError:
    return ApiError.invalid(f"Missing required field '{path}'.", param=path)
