"""What a chat body may say, field by field, and what a client is told when it may not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.edge.endpoints.chat.request import ChatRequest, FunctionDefinition, Message
from services.edge.endpoints.chat.validation import parse_chat_request
from services.edge.http.errors import ApiError

USER = {"role": "user", "content": "Hello"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWERED = {"role": "tool", "content": "sunny", "tool_call_id": "call_1"}
TEXT = {"type": "text", "text": "What?"}
WRITERS = ("system", "developer", "user", "assistant")
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg"}}


def body(**fields: Any) -> bytes:
    return json.dumps({"messages": [USER], **fields}).encode()


def refusal(raw: bytes) -> ApiError:
    with pytest.raises(ApiError) as raised:
        parse_chat_request(raw)
    assert raised.value.status == 400
    assert raised.value.type == "invalid_request_error"
    return raised.value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [USER] * 2049}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "robot", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
        ({"messages": [{"role": "system", "content": [IMAGE]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": [{"type": "refusal"}]}]}, "messages[0].content[0].refusal"),
        ({"messages": [{"role": "assistant", "refusal": 5}]}, "messages[0].refusal"),
        ({"messages": [{"role": "user", "content": "x", "refusal": "no"}]}, "messages[0].refusal"),
        ({"messages": [{"role": "user", "content": "x", "name": 5}]}, "messages[0].name"),
        ({"messages": [{"role": "function", "content": "x", "name": "f"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "assistant", "content": "x", "function_call": {"name": "f"}}]},
            "messages[0].function_call",
        ),
        ({"messages": [{"role": "assistant", "content": "x", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"messages": [USER, ANSWERED]}, "messages[1].role"),
        ({"messages": [CALLING, {**ANSWERED, "tool_call_id": "call_2"}]}, "messages[1].tool_call_id"),
        ({"messages": [CALLING, ANSWERED, USER, ANSWERED]}, "messages[3].role"),
        ({"messages": [CALLING, USER]}, "messages[0].tool_calls[0]"),
        ({"messages": [USER, CALLING]}, "messages[1].tool_calls[0]"),
        (
            {"messages": [{**CALLING, "tool_calls": [CALL, {**CALL, "id": "call_2"}]}, ANSWERED]},
            "messages[0].tool_calls[1]",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"model": 5}, "model"),
        ({"stream": "please"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 5.0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_p": -1}, "top_p"),
        ({"frequency_penalty": 2.5}, "frequency_penalty"),
        ({"presence_penalty": -2.5}, "presence_penalty"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"stop": ""}, "stop"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"logit_bias": {"five": 1}}, "logit_bias.five"),
        ({"logit_bias": {str(2**31): 1}}, "logit_bias.2147483648"),
        ({"logit_bias": {"٥": 1}}, "logit_bias.٥"),
        ({"metadata": {"k" * 65: ""}}, "metadata." + "k" * 64 + "…"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
        ({"tools": [{"type": "magic", "function": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]}, "tools[0].function.parameters"),
        ({"tools": [TOOL, TOOL]}, "tools[1].function.name"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice.function.name",
        ),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
            "response_format.json_schema.schema",
        ),
        ({"stream": True, "stream_options": {"include_obfuscation": 1}}, "stream_options.include_obfuscation"),
        ({"user": 5}, "user"),
        ({"store": "yes"}, "store"),
        ({"metadata": {"a": 5}}, "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"modalities": ["text", "audio"]}, "modalities[1]"),
        ({"modalities": []}, "modalities"),
        ({"service_tier": 5}, "service_tier"),
        ({"reasoning_effort": 5}, "reasoning_effort"),
        ({"reasoning_effort": "x" * 65}, "reasoning_effort"),
        ({"user": "x" * 1025}, "user"),
        ({"prediction": "text"}, "prediction"),
        ({"functions": []}, "functions"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
    ],
)
def test_a_field_out_of_its_range_is_named(fields: dict[str, Any], param: str) -> None:
    assert refusal(body(**fields)).param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"temperature": 2},
        {"top_p": 1},
        {"frequency_penalty": -2, "presence_penalty": 2},
        {"stop": "x"},
        {"stop": ["a", "b", "c", "d"]},
        {"stop": []},
        {"n": 8},
        {"seed": -(2**63)},
        {"logprobs": True, "top_logprobs": 20},
        {"logit_bias": {"5": -100, "7": 100}},
        {"max_tokens": 5, "max_completion_tokens": 5},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [], "tool_choice": "auto"},
        {"user": "u", "metadata": {"a": "b"}, "store": False},
        {"messages": [{"role": "developer", "content": "x"}, USER]},
        {"messages": [CALLING, ANSWERED, {"role": "user", "content": ""}]},
        {"messages": [{**CALLING, "tool_calls": [{**CALL, "type": None}]}, ANSWERED, ANSWERED]},
        {"messages": [{**CALLING, "content": "", "function_call": None, "audio": None}, ANSWERED, CALLING, ANSWERED]},
        {"messages": [USER, {"role": "assistant", "content": None, "refusal": "I will not."}, USER]},
        {"messages": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, USER]},
        *({"messages": [{"role": role, "content": [TEXT, TEXT], "name": "n"}]} for role in WRITERS),
        {"messages": [CALLING, {**ANSWERED, "content": [TEXT]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}]},
        {"something_new": {"a": [1]}},
        {"service_tier": "flex", "reasoning_effort": "low", "verbosity": "low", "safety_identifier": "u"},
        {"prediction": {"type": "content", "content": "x"}, "prompt_cache_key": "k", "prompt_cache_retention": "24h"},
        {"modalities": ["text"], "audio": {"voice": "alloy", "format": "wav"}},
        {"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": True}},
        {"metadata": {"k" * 64: "v" * 512}},
    ],
)
def test_what_the_reference_documents_is_taken(fields: dict[str, Any]) -> None:
    parse_chat_request(body(**fields))


def test_null_means_absent_for_every_optional_field() -> None:
    request = parse_chat_request(body(**dict.fromkeys(name for name in ChatRequest.model_fields if name != "messages")))
    assert (request.alias, request.choices, request.output_limit) == ("muh-chat", 1, None)


def test_null_means_absent_within_messages_and_tools_too() -> None:
    message = {**dict.fromkeys(Message.model_fields), **USER}
    function = {**dict.fromkeys(FunctionDefinition.model_fields), "name": "f"}
    image = {
        "type": "image_url",
        "text": None,
        "refusal": None,
        "image_url": {"url": "https://x.test/", "detail": None},
    }
    schema = {"name": "n", "description": None, "schema": {}, "strict": None}
    parse_chat_request(
        body(
            messages=[message, {"role": "user", "content": [image]}],
            tools=[{"type": "function", "function": function}],
            response_format={"type": "json_schema", "json_schema": schema},
            stream=True,
            stream_options={"include_usage": None, "include_obfuscation": None},
        )
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[" * 10_000,
        b'{"x":' * 10_000,
        b'{"messages": [{"role": "user", "content": "x"}]} x',
        b'{"seed": ' + b"9" * 10_000 + b"}",
    ],
    ids=["empty", "cut", "not utf-8", "string not utf-8", "surrogate", "arrays", "objects", "trailing", "number"],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    error = refusal(raw)
    assert error.code == "invalid_json"
    assert error.param is None


def test_a_body_that_is_not_an_object_is_refused() -> None:
    assert "JSON object" in refusal(b"[]").message


def test_of_a_repeated_key_the_last_stands() -> None:
    assert parse_chat_request(b'{"n": 9, "n": 2, "messages": [{"role": "user", "content": "x"}]}').n == 2


def test_a_number_of_tokens_beyond_all_contexts_is_cut_to_what_the_wire_carries() -> None:
    assert parse_chat_request(body(max_tokens=10**30)).output_limit == 2**31 - 1


def test_a_message_never_repeats_what_the_client_sent() -> None:
    secret = "canary-5d1f"
    fields = {"messages": [{"role": secret, "content": secret}], "stop": [secret] * 5, "temperature": secret}
    assert secret not in refusal(body(**fields)).message


def test_a_message_stays_short_whatever_the_client_sent() -> None:
    assert len(refusal(body(logit_bias={"k" * 100_000: 500})).body()) < 500
