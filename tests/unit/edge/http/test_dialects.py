"""Other vendors' fields inside objects that this API knows: each is met, or refused by its name; none is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muhgpt.inference.v1 import inference_pb2 as pb
from services.edge.endpoints.chat.to_work import to_proto
from services.edge.endpoints.chat.validation import parse_chat_request
from services.edge.http.errors import ApiError

USER = {"role": "user", "content": "Hello"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"name": "f", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
IMAGE = {"url": "https://x.test/"}


def translated(**fields: Any) -> pb.ChatRequest:
    return to_proto(parse_chat_request(json.dumps({"messages": [USER], **fields}).encode()), "m")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema", "schema": SCHEMA}}, "response_format.schema"),
        ({"response_format": {"type": "text", "schema": SCHEMA}}, "response_format.schema"),
        ({"response_format": {"type": "json_object", "json_schema": {"name": "n", "schema": SCHEMA}}}, "json_schema"),
        ({"response_format": {"type": "text", "json_schema": {"name": "n", "schema": SCHEMA}}}, "json_schema"),
        ({"response_format": {"type": "regex", "pattern": "a+"}}, "response_format.type"),
        ({"response_format": {"type": "grammar", "grammar": "root ::= 'a'"}}, "response_format.type"),
        ({"response_format": {"type": "text", "regex": "a+"}}, "response_format.regex"),
        ({"response_format": {"type": "json_object", "strict": True}}, "response_format.strict"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "regex": "a"}}},
            "response_format.json_schema.regex",
        ),
        ({"tools": [{**TOOL, "strict": True}]}, "tools[0].strict"),
        ({"tools": [{**TOOL, "input_schema": SCHEMA}]}, "tools[0].input_schema"),
        ({"tools": [{"type": "function", "function": {"name": "f", "input_schema": SCHEMA}}]}, "input_schema"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parametersJsonSchema": {}}}]},
            "tools[0].function.parametersJsonSchema",
        ),
        ({"tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]}, "tools[0].function"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}}, "tool_choice.function"),
        (
            {
                "tools": [TOOL],
                "tool_choice": {"type": "function", "function": {"name": "f"}, "disable_parallel_tool_use": True},
            },
            "tool_choice.disable_parallel_tool_use",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, "tool_choice.type"),
        ({"messages": [USER, {"role": "assistant", "content": "So", "prefix": True}]}, "messages[1].prefix"),
        ({"messages": [USER, {"role": "assistant", "content": "So", "partial": True}]}, "messages[1].partial"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "image_url": IMAGE}]}]},
            "messages[0].content[0].image_url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "text": "x", "image_url": IMAGE}]}]},
            "messages[0].content[0].text",
        ),
        ({"response_format": {"type": "text", "x" * 1000: 1}}, "response_format." + "x" * 64 + "…"),
    ],
)
def test_a_dialect_that_would_change_the_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as raised:
        translated(**fields)
    assert raised.value.status == 400
    assert (raised.value.param or "").endswith(param)
    assert len(raised.value.body()) < 500


def test_a_schema_beside_json_object_is_held() -> None:
    form = translated(response_format={"type": "json_object", "schema": SCHEMA}).response_format
    assert form.kind == pb.ResponseFormat.KIND_JSON_SCHEMA
    assert json.loads(form.schema) == SCHEMA
    assert not form.strict


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]},
        {"tools": [{"type": "function", "function": {**FUNCTION, "cache_control": {}, "x": None}}]},
        {"response_format": {"type": "text", "json_schema": None, "schema": None, "regex": None}},
        {"messages": [USER, {"role": "assistant", "content": "So", "prefix": False, "partial": None}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "image_url": None, "refusal": ""}]}]},
        {"messages": [{**USER, "reasoning_content": "hm", "cache_control": {}}]},
    ],
)
def test_hints_and_nulls_are_ignored(fields: dict[str, Any]) -> None:
    assert translated(**fields).messages
