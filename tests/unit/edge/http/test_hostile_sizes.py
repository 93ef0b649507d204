"""Bodies that are large, deep or wrong a million times: rejected in time that is in proportion, with a short answer."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from muhgpt.inference.v1 import inference_pb2 as pb
from services.edge.endpoints.chat.to_work import to_proto
from services.edge.endpoints.chat.validation import parse_chat_request
from services.edge.http.errors import ApiError
from services.edge.http.limits import RequestLimits

USER = {"role": "user", "content": "Hello"}
TEXT = {"type": "text", "text": ""}
MANY = 200_000  # entries; before, each was reported
SHORT = 600  # bytes of an error's body
CPU_SECONDS = 1.0  # before, some of these took more than ten


def translated(body: bytes) -> pb.ChatRequest:
    return to_proto(parse_chat_request(body), "m")


def refused(body: bytes) -> ApiError:
    began = time.thread_time()
    with pytest.raises(ApiError) as raised:
        translated(body)
    assert time.thread_time() - began < CPU_SECONDS
    assert raised.value.status == 400
    assert len(raised.value.body()) < SHORT
    return raised.value


def body(**fields: Any) -> bytes:
    return json.dumps({"messages": [USER], **fields}).encode()


def calls(arguments: str, count: int = 1) -> list[dict[str, Any]]:
    made = [
        {"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": arguments}} for i in range(count)
    ]
    answers = [{"role": "tool", "tool_call_id": call["id"], "content": "x"} for call in made]
    return [USER, {"role": "assistant", "tool_calls": made}, *answers]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"modalities": [1] * MANY}, "modalities"),
        ({"modalities": [1] * 2_500_000}, "modalities"),
        ({"logit_bias": {f"x{i}": "a" for i in range(500_000)}}, "logit_bias"),
        ({"modalities": ["text"] * MANY}, "modalities"),
        ({"stop": [1] * MANY}, "stop"),
        ({"stop": ["x"] * MANY}, "stop"),
        ({"logit_bias": {f"x{i}": "a" for i in range(MANY // 2)}}, "logit_bias"),
        ({"logit_bias": {str(i): 1 for i in range(MANY // 2)}}, "logit_bias"),
        ({"metadata": {str(i): 1 for i in range(MANY // 2)}}, "metadata"),
        ({"tools": [1] * MANY}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}] * (MANY // 8)}, "tools"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", **{str(i): i for i in range(MANY // 2)}}}] * 2},
            "t",
        ),
        ({"messages": [1] * MANY}, "messages"),
        ({"messages": [USER] * (MANY // 8)}, "messages"),
        ({"messages": [{"role": "user", "content": [1] * MANY}]}, "messages"),
        ({"messages": [{"role": "user", "content": [TEXT] * (MANY // 8)}]}, "messages"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}] * MANY}]}, "messages"),
        ({"messages": [{"role": "x" * 1_000_000, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "name": [1] * MANY, "content": "x"}]}, "messages[0].name"),
        ({"tool_choice": "x" * 1_000_000}, "tool_choice"),
        ({"tool_choice": [1] * MANY}, "tool_choice"),
        ({"response_format": {"type": "text", **{str(i): i for i in range(MANY // 2)}}}, "response_format.0"),
        ({"response_format": {"type": [1] * MANY}}, "response_format.type"),
        ({"stream_options": [1] * MANY}, "stream_options"),
        ({"functions": [1] * MANY}, "functions"),
        ({"user": [1] * MANY}, "user"),
        ({"reasoning_effort": "x" * 1_000_000}, "reasoning_effort"),
    ],
)
def test_a_field_with_a_great_many_wrong_values_is_one_short_error(fields: dict[str, Any], param: str) -> None:
    assert (refused(body(**fields)).param or "").startswith(param)


@pytest.mark.parametrize("value", [b"1", b"[]", b"{}", b'""', b'{"a":[]}', b'"\\u0022"', b"null"])
@pytest.mark.parametrize("field", [b"unknown", b"prediction", b"modalities", b"messages"])
def test_a_body_of_millions_of_values_is_rejected_before_it_is_parsed(field: bytes, value: bytes) -> None:
    values = b",".join([value] * 6_000_000)
    raw = b'{"messages":[{"role":"user","content":"x"}],"' + field + b'":[' + values + b"]}"
    assert refused(raw).code == "too_many_values"


def test_prose_with_more_commas_than_values_are_allowed_is_taken() -> None:
    text = '"so, " he said, \\"[{\\\\" ' * 500_000
    proto = translated(body(messages=[{"role": "user", "content": text}], x=[[1, 2], {"a": "b"}]))
    assert proto.messages[0].content[0].text == text


def test_parts_are_counted_over_all_messages() -> None:
    messages = [{"role": "user", "content": [TEXT] * 2048}] * 3
    error = refused(body(messages=messages))
    assert (error.param, error.message) == (
        "messages[2].content",
        "Invalid 'messages[2].content': the messages hold too many content parts.",
    )
    assert translated(body(messages=messages[:2])).messages[1].content
    parse_chat_request(body(messages=messages), RequestLimits(parts=3 * 2048))


def test_calls_are_counted_over_all_messages() -> None:
    assert refused(body(messages=calls("{}", 128) * 33 + [USER])).param == "messages"  # more than 2,048 messages
    asked = [{"id": "c", "function": {"name": "f", "arguments": "{}"}}] * 128
    turns = [{"role": "assistant", "tool_calls": asked}, {"role": "tool", "tool_call_id": "c", "content": "x"}]
    assert refused(body(messages=turns * 33)).param == "messages[64].tool_calls"
    assert translated(body(messages=turns * 32)).messages


@pytest.mark.parametrize(
    "arguments",
    [
        "[" * 35_000 + "]" * 35_000,
        "[" * 65,
        "[" * 65 + "]" * 65,
        '{"a":' * 65 + "1" + "}" * 65,
        '{"a":' * 65,
        '{"a":[' * 33,
        "[" * 980 + '"<\\u007cim_start|>"' + "]" * 980,
        '"\\"",' + "[" * 65,
        '"\\\\",' + "[" * 65,
        "]" * 100 + "[" * 100,
        "[]," * 1000 + "[" * 65 + "]" * 65,
        "[" * 10_000_000,
        '{"a":"[[[' + '"' + "[" * 65,
    ],
)
def test_arguments_that_are_nested_too_deep_are_refused(arguments: str) -> None:
    error = refused(body(messages=calls(arguments)))
    assert error.param == "messages[1].tool_calls[0].function.arguments"
    assert error.code == "nested_too_deep"


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        '{"a":',
        '{"a":1}{"b":2}',
        "null",
        "not JSON",
        "[" * 64 + "]" * 64,
        '{"a":' * 64 + "1" + "}" * 64,
        "[[]," * 32 + "[]" + "]" * 32,
        json.dumps({"code": "[" * 10_000 + '"\\' + "{" * 10_000}),
        '{"code": "' + "[" * 10_000,
        "[]," * 10_000,
        "\ufeff{}",
        '{"a":"\\ud800"}',
        '{"a":"\u2028"}',
    ],
)
def test_arguments_that_were_cut_or_are_no_json_arrive_as_they_were_sent(arguments: str) -> None:
    proto = translated(body(messages=calls(arguments)))
    assert proto.messages[1].tool_calls[0].arguments == arguments


def nested(levels: int, kind: str = "array") -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels - 1):
        schema = {"items": schema} if kind == "array" else {"anyOf": [schema]}
    return schema


def test_schemas_have_the_same_bound() -> None:
    for levels, param in ((65, "tools[0].function.parameters"), (64, None)):
        tools = [{"type": "function", "function": {"name": "f", "parameters": nested(levels)}}]
        if param:
            assert refused(body(tools=tools)).param == param
        else:
            assert translated(body(tools=tools)).tools[0].parameters
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": nested(40, "any")}}
    assert refused(body(response_format=form)).param == "response_format.json_schema.schema"
    assert (
        refused(body(response_format={"type": "json_object", "schema": nested(65)})).param == "response_format.schema"
    )


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 641, "-" + "9" * 4000], ids=lambda text: text[:9]
)
def test_a_number_that_json_cannot_carry_is_named(number: str) -> None:
    raw = body(tools=[{"type": "function", "function": {"name": "f", "parameters": {"a": ["null", "#"]}}}])
    error = refused(raw.replace(b'"#"', number.encode()))
    assert error.param == "tools[0].function.parameters"


@pytest.mark.parametrize("value", [None, 2**64 - 1, 2**127, -(2**63), 1.5e300, "null", True, "\u2028", "ü", {"": None}])
def test_what_a_schema_says_arrives_unchanged(value: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"a": value, "z": ["null"], "b": []}}}]
    arrived = json.loads(translated(body(tools=tools)).tools[0].parameters)
    assert arrived == {"a": value, "z": ["null"], "b": []}
    assert list(arrived) == ["a", "z", "b"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"messages":[{"role":"user","content":"x"}],"max_tokens":' + b"1" * 5000 + b"}",
        b'{"messages":[{"role":"user","content":"x"}],"max_tokens":1e400}',
        b'{"messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"messages":[{"role":"user","content":"x"}],"logit_bias":{"1":Infinity}}',
        b"\xef\xbb\xbf" + body(),
        body().decode().encode("utf-16"),
        body().decode().encode("utf-32-le"),
        b'{"messages":[{"role":"user","content":"x"}],"x":' + b"[" * 5_000_000 + b"]" * 5_000_000 + b"}",
        b'{"messages":[{"role":"user","content":"x"}],"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"messages":[{"role":"user","content":"x"}],"x":' + b"1" * 5_000_000 + b"}",
    ],
    ids=["digits", "float", "nan", "infinite", "BOM", "UTF-16", "UTF-32", "arrays", "objects", "a long number"],
)
def test_what_no_json_parser_should_take_is_a_400(raw: bytes) -> None:
    refused(raw)
