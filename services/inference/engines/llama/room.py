"""Whether a prompt can fit at all, asked before it is rendered: rendering what is far too long takes seconds."""

from __future__ import annotations

import orjson

from services.inference.domain.chat import ChatRequest
from services.inference.domain.errors import ContextTooLong, InvalidRequest

MAX_LEFT_OUT = 4  # times what fits: templates may leave that much out, and reading more keeps others waiting
MAX_PIECES = 4096  # properties and enum values of all tools together: templates spend 0.15 ms on each
WHITE_SPACE = {ord(letter): None for letter in " \t\n\r"}


class Room:
    """Knows how many bytes a model's longest token has: no token stands for more of a prompt."""

    def __init__(self, longest_token: int) -> None:
        self._longest = max(1, longest_token)

    def check(self, request: ChatRequest, context_length: int) -> None:
        """Raises ContextTooLong when what every template renders takes more than the context by itself, and
        InvalidRequest for tools that take too long to render."""
        least = -(-_rendered_bytes(request) // self._longest)
        pieces = sum(_pieces(tool.parameters) for tool in request.tools) if request.may_call_tools else 0
        least = max(least, len(request.messages) + pieces)
        if least >= context_length:
            raise ContextTooLong(least, context_length, at_least=True)
        if pieces > MAX_PIECES:
            raise InvalidRequest(f"the tools have more than {MAX_PIECES:,} properties and enum values", param="tools")
        self._check_whole(request, context_length)

    def _check_whole(self, request: ChatRequest, context_length: int) -> None:
        """What a template leaves out is read by it all the same, white space and earlier thoughts too."""
        most = MAX_LEFT_OUT * context_length * self._longest
        if (whole := _whole_bytes(request)) > most:
            text = f"messages and tools have {whole:,} bytes; more than {most:,} cannot fit the model's context"
            raise InvalidRequest(text, param="messages")


def _rendered_bytes(request: ChatRequest) -> int:
    """A lower bound of the prompt: what all messages say, and what their calls and the tools are named."""
    size = sum(_said_bytes(message.text) for message in request.messages)
    calls = [call for message in request.messages for call in message.tool_calls]
    size += sum(len(call.name) + _called_bytes(call.arguments) for call in calls)
    if request.may_call_tools:
        size += sum(len(tool.name) + len(tool.description.encode()) for tool in request.tools)
    return size


def _whole_bytes(request: ChatRequest) -> int:
    """Everything that a template is given."""
    size = sum(len(message.text.encode()) + len(message.name or "") for message in request.messages)
    size += sum(len(call.name) + len(call.arguments) for message in request.messages for call in message.tool_calls)
    if request.may_call_tools:
        size += sum(len(tool.description.encode()) + len(tool.parameters or "") for tool in request.tools)
    return size


def _said_bytes(text: str) -> int:
    """Some templates leave out white space at the ends, and what a model thought in an earlier turn."""
    return len(text.rpartition("</think>")[2].strip().encode())


def _called_bytes(arguments: str) -> int:
    """Templates write JSON anew, without its white space, and an escape of six letters may stand for one."""
    letters = len(arguments.translate(WHITE_SPACE))
    return letters // 6 if "\\u" in arguments else letters


def _pieces(parameters: str) -> int:
    """The properties at a tool's top and the values of their enums, each of which takes a token of the prompt."""
    try:
        schema = orjson.loads(parameters) if parameters else None
    except orjson.JSONDecodeError:
        return 0  # refused where it is read
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return 0
    enums = [part["enum"] for part in properties.values() if isinstance(part, dict) and "enum" in part]
    return len(properties) + sum(len(values) for values in enums if isinstance(values, list))
