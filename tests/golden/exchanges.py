"""What is recorded: a request, and what the pipeline behind the edge is made to do with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from common.reasons import Reason
from services.edge.peers.errors import Failure, GenerationFailed, KeyRevoked, Refused, Service, Unavailable
from services.edge.peers.quota.rate_window import Limit, RateWindow
from services.edge.peers.quota.reports import AccountUsage, SpentDay, SpentModel
from services.edge.serving.answer import Batch, Delta, TokenLogprob, ToolCallDelta, Usage
from services.edge.serving.errors import DeadlineExceeded, TooManyAnswers
from tests.worlds.in_process.scripted_gateway import KEY, Step

CHAT = "/v1/chat/completions"
WINDOW = RateWindow(60, 41, 12.3456)
FULL = RateWindow(60, 0, 12.3456)
NEVER = Failure("the edge answers before it asks")


@dataclass(frozen=True)
class Exchange:
    """One request; `gateway` are fields of the scripted gateway."""

    name: str
    body: bytes = b""
    gateway: dict[str, Any] = field(default_factory=dict)
    method: str = "POST"
    path: str = CHAT
    headers: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {KEY}"), ("content-type", "application/json"))


def chat(name: str, steps: Sequence[Step], /, **fields: Any) -> Exchange:
    """A chat request, whole and streamed alike."""
    return Exchange(name, _body(**fields), {"steps": steps})


def refused(name: str, error: Exception, /, **fields: Any) -> Exchange:
    """A chat request that the pipeline refuses."""
    return Exchange(name, _body(**fields), {"open_error": error})


def rate_limited(limit: Limit | None) -> Refused:
    """What quota refuses a reservation with when a window is full; older replicas do not name the limit."""
    return Refused(Reason.RATE_LIMITED, limit=limit, retry_after=12.3456, window=FULL)


def read(name: str, path: str, method: str = "GET", /, **gateway: Any) -> Exchange:
    """A request without a body."""
    return Exchange(name, b"", gateway, method, path, (("authorization", f"Bearer {KEY}"),))


def _body(**fields: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "Hello!"}], **fields}).encode()


def _token(text: str, logprob: float) -> TokenLogprob:
    rivals = (TokenLogprob(text, text.encode(), logprob), TokenLogprob("�", b"\xf0\x9f", -2.5))
    return TokenLogprob(text, text.encode(), logprob, rivals)


TEXT: list[Step] = [
    Batch([Delta(0, "Grüß")]),
    Batch([Delta(0, ' "Gott"\n')]),
    Batch([Delta(0, "👋"), Delta(0, "!")]),
    Batch([Delta(0, "", finish_reason="stop")]),
    Batch([], Usage(9, 5)),
]
CUT: list[Step] = [Batch([Delta(0, "Once upon")]), Batch([Delta(0, " a", finish_reason="length")], Usage(9, 3))]
TWO: list[Step] = [
    Batch([Delta(0, "a")]),
    Batch([Delta(1, "b"), Delta(0, "c")]),
    Batch([Delta(1, "", finish_reason="stop")]),
    Batch([Delta(0, "", finish_reason="length")], Usage(9, 3)),
]
CALLS: list[Step] = [
    Batch([Delta(0, "Let me see.")]),
    Batch([Delta(0, "", tool_calls=(ToolCallDelta(0, "call_a", "get_weather", ""),))]),
    Batch([Delta(0, "", tool_calls=(ToolCallDelta(0, "", "", '{"city":"Lis'), ToolCallDelta(0, "", "", 'bon"}')))]),
    Batch([Delta(0, "", tool_calls=(ToolCallDelta(1, "call_b", "get_time", "{}"),))]),
    Batch([Delta(0, "", finish_reason="tool_calls")], Usage(30, 21)),
]
CHANCES: list[Step] = [
    Batch([Delta(0, "Hel", logprobs=(_token("Hel", -0.25),))]),
    Batch([Delta(0, "lo", logprobs=(_token("lo", -0.5),))]),
    Batch([Delta(0, "", finish_reason="stop")], Usage(9, 2)),
]
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("get_weather", "get_time")]

ANSWERS = [
    exchange
    for stream, way in ((False, "whole"), (True, "stream"))
    for exchange in (
        chat(f"{way}_text", TEXT, stream=stream),
        chat(f"{way}_length", CUT, stream=stream, max_tokens=3, model="gpt-4o"),
        chat(f"{way}_two_choices", TWO, stream=stream, n=2),
        chat(f"{way}_tool_calls", CALLS, stream=stream, tools=TOOLS),
        chat(f"{way}_only_tool_calls", CALLS[1:], stream=stream, tools=TOOLS, tool_choice="required"),
        chat(f"{way}_logprobs", CHANCES, stream=stream, logprobs=True, top_logprobs=2),
    )
]
USAGE = {"include_usage": True}
STREAMS = [
    chat("stream_include_usage", TEXT, stream=True, stream_options=USAGE),
    chat("stream_include_usage_two_choices", TWO, stream=True, stream_options=USAGE, n=2),
    chat("stream_key_revoked_midway", [TEXT[0], KeyRevoked()], stream=True),
    chat("stream_engine_died_midway", [TEXT[0], GenerationFailed(Reason.ENGINE_UNAVAILABLE)], stream=True),
    chat("stream_defect_midway", [TEXT[0], KeyError("never shown")], stream=True),
]
REFUSALS = [
    Exchange("400_malformed_json", b'{"messages": ['),
    Exchange("400_not_an_object", b"[]"),
    Exchange("400_missing_field", b"{}"),
    refused("400_field_out_of_range", NEVER, temperature=3),
    refused("400_bad_role", NEVER, messages=[{"role": "wizard", "content": "x"}]),
    refused("400_context_length", GenerationFailed(Reason.CONTEXT_TOO_LONG, "Too long.", "messages")),
    Exchange("401_no_key", _body(), headers=(("content-type", "application/json"),)),
    Exchange("401_unknown_key", _body(), headers=(("authorization", "Bearer x"), ("content-type", "application/json"))),
    refused("402_insufficient_credits", Refused(Reason.INSUFFICIENT_CREDITS, window=WINDOW)),
    refused("402_key_limit_reached", Refused(Reason.KEY_LIMIT_REACHED, window=WINDOW)),
    Exchange("403_model_not_allowed", _body(model="gpt-4o"), {"allowed": frozenset({"muh-chat"})}),
    refused("404_unknown_model", NEVER, model="gpt-17"),
    Exchange("404_unknown_route", _body(), path="/v1/embeddings"),
    read("405_wrong_method", CHAT, "PUT"),
    Exchange("413_too_large", _body(user="x" * 4096)),
    Exchange("415_not_json", _body(), headers=(("authorization", f"Bearer {KEY}"), ("content-type", "text/plain"))),
    refused("429_rate_limited", rate_limited(Limit.ACCOUNT)),
    refused("429_rate_limited_key", rate_limited(Limit.KEY)),
    refused("429_rate_limited_by_an_older_quota", rate_limited(None)),
    refused("429_too_many_streams", TooManyAnswers(64)),
    refused("431_header_too_large", NEVER),
    refused("500_defect", KeyError("never shown")),
    refused("502_engine_away", Unavailable(Service.INFERENCE)),
    refused("503_quota_away", Unavailable(Service.QUOTA)),
    refused("503_engine_overloaded", GenerationFailed(Reason.OVERLOADED, retry_after=2.0)),
    refused("503_deadline_exceeded", DeadlineExceeded()),
]
READS = [
    read("models", "/v1/models", allowed=frozenset({"muh-chat", "gpt-4o"})),
    read("model", "/v1/models/gpt-4o"),
    read(
        "usage",
        "/v1/usage",
        usage_answer=AccountUsage(
            13997015, 2985, 2985, 10, (SpentDay("2026-06-10", 2933, 8),), (SpentModel("muh-chat", 2933),)
        ),
    ),
    read("options", CHAT, "OPTIONS"),
]
EXCHANGES = [*ANSWERS, *STREAMS, *REFUSALS, *READS]
