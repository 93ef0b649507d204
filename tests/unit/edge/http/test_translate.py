"""A validated body as inference's message."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from typing import Any

import pytest

from muhgpt.inference.v1 import inference_pb2 as pb
from services.edge.endpoints.chat.to_work import to_proto
from services.edge.endpoints.chat.validation import parse_chat_request
from services.edge.http.errors import ApiError


def translated(**fields: Any) -> pb.ChatRequest:
    content = {"messages": [{"role": "user", "content": "Hello"}], **fields}
    return to_proto(parse_chat_request(json.dumps(content).encode()), "muh-chat")


def image(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, "detail": "low"}}]}]


def test_what_was_not_sent_stays_absent() -> None:
    proto = translated()
    assert proto.model == "muh-chat"
    assert not proto.sampling.HasField("temperature")
    assert not proto.sampling.HasField("seed")
    assert proto.sampling.choices == 1
    assert proto.parallel_tool_calls
    assert proto.parallel_tool_calls_implied
    assert not proto.HasField("tool_choice")


def test_zero_is_not_absent() -> None:
    sampling = translated(temperature=0, seed=0, top_p=0).sampling
    assert sampling.HasField("temperature")
    assert sampling.HasField("seed")
    assert sampling.HasField("top_p")


def test_sampling_fields_arrive() -> None:
    sampling = translated(
        temperature=0.5,
        top_p=0.9,
        stop="x",
        frequency_penalty=1,
        presence_penalty=-1,
        seed=-5,
        n=3,
        logprobs=True,
        top_logprobs=2,
        logit_bias={"50256": -100},
    ).sampling
    assert (sampling.temperature, sampling.top_p, list(sampling.stop)) == (0.5, 0.9, ["x"])
    assert (sampling.frequency_penalty, sampling.presence_penalty, sampling.seed) == (1, -1, -5)
    assert (sampling.choices, sampling.logprobs, sampling.top_logprobs) == (3, True, 2)
    assert dict(sampling.logit_bias) == {50256: -100}


def test_roles_and_tool_turns_arrive() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    messages = [
        {"role": "developer", "content": "Be kind"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sunny"}]},
    ]
    system, assistant, tool = translated(messages=messages).messages
    assert system.role == pb.Message.ROLE_SYSTEM
    assert (assistant.tool_calls[0].id, assistant.tool_calls[0].arguments) == ("call_1", '{"a":1}')
    assert not assistant.content
    assert (tool.role, tool.tool_call_id, tool.content[0].text) == (pb.Message.ROLE_TOOL, "call_1", "sunny")


def test_what_an_assistant_refused_is_what_it_said() -> None:
    parts = [{"type": "text", "text": "Hm."}, {"type": "refusal", "refusal": "I will not."}]
    messages = [{"role": "assistant", "content": None, "refusal": "No."}, {"role": "assistant", "content": parts}]
    whole, in_parts = translated(messages=messages).messages
    assert [part.text for part in whole.content] == ["No."]
    assert [part.text for part in in_parts.content] == ["Hm.", "I will not."]


def test_tools_and_formats_arrive_with_their_schemas_as_text() -> None:
    schema = {"type": "object", "properties": {"ü": {"type": "string"}}}
    proto = translated(
        tools=[{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
    )
    assert json.loads(proto.tools[0].parameters) == schema
    assert (proto.tool_choice.mode, proto.tool_choice.name) == (pb.ToolChoice.MODE_FUNCTION, "f")
    assert not proto.parallel_tool_calls
    assert not proto.parallel_tool_calls_implied
    assert proto.response_format.kind == pb.ResponseFormat.KIND_JSON_SCHEMA
    assert (json.loads(proto.response_format.schema), proto.response_format.strict) == (schema, True)


def test_images_arrive_as_a_url_or_as_bytes() -> None:
    by_url = translated(messages=image("https://example.com/cat.jpg")).messages[0].content[0].image
    assert (by_url.url, by_url.detail) == ("https://example.com/cat.jpg", "low")
    uri = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    assert translated(messages=image(uri)).messages[0].content[0].image.data == b"\x89PNG"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/x",
        "cat.jpg",
        "file:///etc/passwd",
        "data:image/png,xx",
        "data:image/png;base64,@@",
        "data:;base64,",
    ],
)
def test_an_image_that_cannot_be_fetched_or_decoded_is_named(url: str) -> None:
    with pytest.raises(ApiError) as raised:
        translated(messages=image(url))
    assert (raised.value.status, raised.value.code) == (400, "invalid_image_url")
    assert raised.value.param == "messages[0].content[0].image_url.url"


def test_a_schema_with_a_number_that_json_has_not_is_named() -> None:
    with pytest.raises(ApiError) as raised:
        translated(tools=[{"type": "function", "function": {"name": "f", "parameters": {"x": float("inf")}}}])
    assert raised.value.param == "tools[0].function.parameters"


def test_hints_to_upstreams_arrive_as_they_were_sent() -> None:
    hints = {
        "reasoning_effort": "low",
        "verbosity": "high",
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "safety_identifier": "s",
        "user": "u",
    }
    proto = translated(**hints)
    assert {name: getattr(proto, name) for name in hints} == hints
    bare = translated(user=None)
    assert not any(bare.HasField(name) for name in hints)


@pytest.mark.parametrize("strict", [True, False, None])
def test_a_tools_strict_says_whether_the_client_said_anything(strict: bool | None) -> None:
    tool = translated(tools=[{"type": "function", "function": {"name": "f", "strict": strict}}]).tools[0]
    assert (tool.strict if tool.HasField("strict") else None) is strict


PICTURE = bytes(range(256)) + b"\xff\xfe"  # of a length that needs padding
ENCODED = base64.b64encode(PICTURE).decode()


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{ENCODED}",
        f"data:image/png;base64,{ENCODED.rstrip('=')}",
        f"data:image/png;base64,{ENCODED.replace('=', '%3D')}",
        f"data:image/png;base64,{ENCODED.replace('=', '%3d').replace('+', '%2B').replace('/', '%2f')}",
        f"data:image/png;base64,{'%0D%0A'.join(ENCODED)}",
        "data:image/png;base64," + "\r\n".join(ENCODED[i : i + 76] for i in range(0, len(ENCODED), 76)) + "\n",
        "data:image/png;base64," + "".join(f"%{ord(letter):02x}" for letter in ENCODED),
        f"data:image/png;name=a%20b;BASE64,{ENCODED}",
        f"data:image/png; base64,\t\x0c {ENCODED} ",
        f" DATA:;base64,{ENCODED}#page=1",
    ],
)
def test_base64_is_read_as_browsers_do(url: str) -> None:
    assert translated(messages=image(url)).messages[0].content[0].image.data == PICTURE


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,QQ=",
        "data:image/png;base64,QQ===",
        "data:image/png;base64,Q",
        "data:image/png;base64,QQ==QQ==",
        "data:image/png;base64,Q%QQ",
        "data:image/png;base64,QQ-_",
        "data:image/png;base64,QQé=",
        "data:image/png;base64,====",
        "data:image/png;base64,%3D%3D",
        "data:image/png;base64,",
        "data:image/png;base64, \n",
        "data:image/png,QQ==",
        "data:base64,QQ==",
        "data:",
    ],
)
def test_what_is_no_base64_is_refused(url: str) -> None:
    with pytest.raises(ApiError) as raised:
        translated(messages=image(url))
    assert (raised.value.status, raised.value.code) == (400, "invalid_image_url")


@pytest.mark.parametrize("piece", ["%3D", "%", "%41", "\n", "=", "%%41", "A%0a"])
def test_megabytes_of_base64_take_time_in_proportion(piece: str) -> None:
    began = time.thread_time()
    with contextlib.suppress(ApiError):
        translated(messages=image("data:image/png;base64," + piece * 3_000_000))
    assert time.thread_time() - began < 1.5
