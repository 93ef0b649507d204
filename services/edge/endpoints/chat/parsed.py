"""A body as the edge goes on with it: the work message for inference, and what the answer's form depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import orjson

from muhgpt.inference.v1 import inference_pb2
from services.edge.endpoints.chat.to_work import to_proto
from services.edge.endpoints.chat.validation import parse_chat_request
from services.edge.http.limits import RequestLimits
from services.edge.http.parsing.body_format import BodyFormat


@dataclass(frozen=True, slots=True)
class ChatForm:
    """What the edge itself needs to know of a request."""

    alias: str
    stream: bool
    include_usage: bool
    logprobs: bool
    choices: int
    output_limit: int | None  # output tokens for each choice


@dataclass(frozen=True, slots=True)
class ParsedChat:
    """`message.model` is the alias until it is resolved."""

    form: ChatForm
    message: inference_pb2.ChatRequest


def parse_chat(body: bytes | bytearray, limits: RequestLimits) -> ParsedChat:
    """All of it, in this process. Raises ApiError 400."""
    request = parse_chat_request(body, limits)
    message = to_proto(request, request.alias, limits.nesting)
    form = ChatForm(
        alias=request.alias,
        stream=bool(request.stream),
        include_usage=request.include_usage,
        logprobs=bool(request.logprobs),
        choices=request.choices,
        output_limit=request.output_limit,
    )
    return ParsedChat(form, message)


def _pack(parsed: ParsedChat) -> tuple[bytes, bytes]:
    return orjson.dumps(asdict(parsed.form)), parsed.message.SerializeToString()


def _unpack(document: bytes, message: bytes | bytearray) -> ParsedChat:
    work = inference_pb2.ChatRequest.FromString(message)  # type: ignore[arg-type]  # any buffer
    return ParsedChat(ChatForm(**orjson.loads(document)), work)


CHAT_BODY = BodyFormat("services.edge.endpoints.chat.parsed:CHAT_BODY", parse_chat, _pack, _unpack)
