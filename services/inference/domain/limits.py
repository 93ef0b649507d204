"""Bounds of a chat request, checked before an engine sees it: llama.cpp itself validates little (docs/engine.md).

The edge checks the same ranges; this is the second door, so that no caller of this service can hurt the engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from services.inference.domain.chat import ChatRequest, Message, Role, Sampling, ToolMode
from services.inference.domain.errors import InvalidRequest
from services.inference.domain.json.text import MAX_DEPTH, nests_deeper

MAX_MESSAGES = 2048  # protos/muhgpt/inference/v1, ChatRequest.messages
MAX_PARTS = 16_384  # of all messages, their calls included; the edge accepts fewer
MAX_TOOLS = 128  # OpenAI's own bound
MAX_STOPS = 4
MAX_STOP_BYTES = 1024
MAX_CHOICES = 8
MAX_TOP_LOGPROBS = 20
MAX_BIASES = 1024


def check(request: ChatRequest, max_prompt_bytes: int) -> None:
    """Raises InvalidRequest naming the field that is out of range. `max_prompt_bytes` bounds all text together."""
    if not 1 <= len(request.messages) <= MAX_MESSAGES:
        raise InvalidRequest(
            f"messages must hold 1 to {MAX_MESSAGES:,} messages, not {len(request.messages):,}", param="messages"
        )
    parts = sum(len(message.content) + len(message.tool_calls) for message in request.messages)
    if parts > MAX_PARTS:
        raise InvalidRequest(f"the messages have more than {MAX_PARTS:,} parts and calls", param="messages")
    for index, message in enumerate(request.messages):
        _check_message(message, f"messages[{index}]")
    _check_size(request, max_prompt_bytes)
    _check_tools(request)
    _check_sampling(request.sampling)
    for param, text in _json_texts(request):
        if nests_deeper(text):
            raise InvalidRequest(f"{param} is nested deeper than {MAX_DEPTH}", param=param)


def _json_texts(request: ChatRequest) -> Iterator[tuple[str, str]]:
    """All JSON that stands in strings, each with its field."""
    for index, message in enumerate(request.messages):
        for number, call in enumerate(message.tool_calls):
            yield f"messages[{index}].tool_calls[{number}].function.arguments", call.arguments
    for index, tool in enumerate(request.tools):
        yield f"tools[{index}].function.parameters", tool.parameters
    yield "response_format.json_schema.schema", request.response_format.schema


def _check_message(message: Message, param: str) -> None:
    if message.tool_calls and message.role is not Role.ASSISTANT:
        raise InvalidRequest("only an assistant's message can hold tool calls", param=f"{param}.tool_calls")
    if message.has_images and message.role is not Role.USER:
        raise InvalidRequest("only a user's message can hold images", param=f"{param}.content")


def _check_size(request: ChatRequest, max_prompt_bytes: int) -> None:
    size = sum(len(message.text) + len(message.name) + len(message.tool_call_id) for message in request.messages)
    calls = [call for message in request.messages for call in message.tool_calls]
    size += sum(len(call.arguments) + len(call.name) + len(call.id) for call in calls)
    if size > max_prompt_bytes:
        raise InvalidRequest(
            f"the messages hold {size:,} characters of text; at most {max_prompt_bytes:,} are accepted",
            param="messages",
        )
    tools = sum(len(tool.name) + len(tool.description) + len(tool.parameters) for tool in request.tools)
    if tools > max_prompt_bytes:
        raise InvalidRequest(
            f"the tools hold {tools:,} characters; at most {max_prompt_bytes:,} are accepted", param="tools"
        )


def _check_tools(request: ChatRequest) -> None:
    if len(request.tools) > MAX_TOOLS:
        raise InvalidRequest(f"at most {MAX_TOOLS} tools are accepted, not {len(request.tools):,}", param="tools")
    names = [tool.name for tool in request.tools]
    for index, name in enumerate(names):
        if not name or name in names[:index]:
            problem = "is named twice" if name else "has no name"
            raise InvalidRequest(f"the tool {name!r} {problem}", param=f"tools[{index}].function.name")
    mode, name = request.tool_choice.mode, request.tool_choice.name
    if mode in (ToolMode.REQUIRED, ToolMode.FUNCTION) and not names:
        raise InvalidRequest("tool_choice asks for a call but there are no tools", param="tool_choice")
    if mode is ToolMode.FUNCTION and name not in names:
        raise InvalidRequest(f"tool_choice names {name!r}, which is not among the tools", param="tool_choice")


def _check_sampling(sampling: Sampling) -> None:
    _check_range("temperature", sampling.temperature, 0, 2)
    _check_range("top_p", sampling.top_p, 0, 1)
    _check_range("frequency_penalty", sampling.frequency_penalty, -2, 2)
    _check_range("presence_penalty", sampling.presence_penalty, -2, 2)
    _check_range("n", sampling.choices, 1, MAX_CHOICES)
    _check_range("top_logprobs", sampling.top_logprobs, 0, MAX_TOP_LOGPROBS)
    if len(sampling.stop) > MAX_STOPS:
        raise InvalidRequest(f"at most {MAX_STOPS} stop sequences are accepted", param="stop")
    for index, stop in enumerate(sampling.stop):
        if not 1 <= len(stop.encode()) <= MAX_STOP_BYTES:
            raise InvalidRequest(f"a stop sequence has 1 to {MAX_STOP_BYTES} bytes", param=f"stop[{index}]")
    if len(sampling.logit_bias) > MAX_BIASES:
        raise InvalidRequest(f"at most {MAX_BIASES} biases are accepted", param="logit_bias")
    for token, bias in sampling.logit_bias.items():
        _check_range(f"logit_bias.{token}", bias, -100, 100)


def _check_range(param: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise InvalidRequest(f"{param} must lie between {low} and {high}, not {value}", param=param)
