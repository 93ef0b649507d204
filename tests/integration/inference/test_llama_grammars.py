"""Answers that are held to a form: forced tool calls and JSON, with sampling as wild as it may be."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.inference.domain.chat import (
    ChatRequest,
    FormatKind,
    Message,
    ResponseFormat,
    Role,
    Sampling,
    Tool,
    ToolChoice,
    ToolMode,
)
from services.inference.domain.engine import FinishReason, ToolCallDelta, Usage
from services.inference.domain.errors import InvalidRequest
from services.inference.engines.llama.engine import LlamaEngine
from tests.engine_steps import steps_of
from tests.fakes_engine import start_llama

WEATHER = Tool(
    "get_weather",
    "The weather of a city",
    '{"type": "object", "required": ["city", "days"], "properties":'
    ' {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 9}}}',
)
CLOCK = Tool("get_time")


@pytest.fixture
async def engine() -> AsyncIterator[LlamaEngine]:
    async with start_llama(abilities=frozenset({"tools", "json"})) as llama:
        yield llama


async def answer(
    engine: LlamaEngine, max_tokens: int = 200, asked: str = "Weather in Lisbon?", **fields: Any
) -> tuple[str, list[ToolCallDelta], FinishReason | None]:
    fields.setdefault("sampling", Sampling(temperature=2))
    prompt = await engine.prepare(ChatRequest("muh-chat", (Message(Role.USER, (asked,)),), **fields))
    text, calls, reason = "", list[ToolCallDelta](), None
    async for step in steps_of(prompt, max_tokens):
        for delta in () if isinstance(step, Usage) else step:
            text, reason = text + delta.text, delta.finish_reason or reason
            for call in delta.tool_calls:
                if call.index == len(calls):
                    calls.append(call)
                else:
                    calls[-1] = dataclasses.replace(calls[-1], arguments=calls[-1].arguments + call.arguments)
    return text, calls, reason


def schema(value: Any, *, strict: bool = False) -> ResponseFormat:
    return ResponseFormat(FormatKind.JSON_SCHEMA, "answer", json.dumps(value), strict)


async def test_a_required_call_is_always_made_and_its_arguments_fit_the_schema(engine: LlamaEngine) -> None:
    required = ToolChoice(ToolMode.REQUIRED)
    answers = await asyncio.gather(*(answer(engine, tools=(WEATHER, CLOCK), tool_choice=required) for _ in range(20)))
    for text, calls, reason in answers:
        assert (text, len(calls), reason) == ("", 1, FinishReason.TOOL_CALLS)
        arguments = json.loads(calls[0].arguments)
        if calls[0].name == "get_weather":
            assert set(arguments) == {"city", "days"}
            assert len(arguments["city"]) <= 12
            assert 1 <= arguments["days"] <= 9
        else:
            assert (calls[0].name, arguments) == ("get_time", {})


async def test_a_named_function_is_the_one_that_is_called(engine: LlamaEngine) -> None:
    named = ToolChoice(ToolMode.FUNCTION, "get_time")
    for _ in range(5):
        _, calls, _ = await answer(engine, tools=(WEATHER, CLOCK), tool_choice=named)
        assert [call.name for call in calls] == ["get_time"]


async def test_tags_in_a_forced_calls_arguments_are_arguments(engine: LlamaEngine) -> None:
    note = {"type": "object", "properties": {"text": {"const": "a</tool_call>b"}}, "required": ["text"]}
    tool = Tool("note", "", json.dumps(note))
    for parallel in (True, False):
        text, calls, reason = await answer(
            engine, tools=(tool,), tool_choice=ToolChoice(ToolMode.REQUIRED), parallel_tool_calls=parallel
        )
        assert (text, reason) == ("", FinishReason.TOOL_CALLS)
        assert [json.loads(call.arguments) for call in calls] == [{"text": "a</tool_call>b"}]


async def test_a_forced_call_cut_short_ends_with_length(engine: LlamaEngine) -> None:
    named = ToolChoice(ToolMode.FUNCTION, "get_weather")
    for limit in range(1, 12):
        text, _, reason = await answer(engine, limit, tools=(WEATHER,), tool_choice=named)
        assert (text, reason) == ("", FinishReason.LENGTH)


async def test_a_schema_holds_the_answer(engine: LlamaEngine) -> None:
    wanted = {
        "title": "annotations are left out",
        "type": "object",
        "properties": {
            "kind": {"enum": ["x", "y", 3]},
            "flag": {"type": ["boolean", "null"]},
            "list": {
                "type": "array",
                "items": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 5}]},
                "maxItems": 3,
            },
        },
        "required": ["kind", "flag", "list"],
    }
    answers = await asyncio.gather(*(answer(engine, response_format=schema(wanted)) for _ in range(20)))
    for text, _, reason in answers:
        assert reason is FinishReason.STOP
        value = json.loads(text)
        assert set(value) == {"kind", "flag", "list"}
        assert value["kind"] in ("x", "y", 3)
        assert value["flag"] in (True, False, None)
        assert len(value["list"]) <= 3
        assert all(0 <= item <= 5 for item in value["list"])


NODE = {
    "type": "object",
    "properties": {
        "mood": {"$ref": "#/$defs/Mood"},
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
        "day": {"type": "string", "format": "date"},
    },
    "required": ["mood", "next", "day"],
    "$defs": {"Mood": {"type": "string", "enum": ["good", "bad"]}},
}


def check_node(value: Any) -> None:
    assert set(value) == {"mood", "next", "day"}
    assert value["mood"] in ("good", "bad")
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", value["day"])
    if value["next"] is not None:
        check_node(value["next"])


async def test_a_schema_that_refers_to_definitions_and_to_itself_holds_the_answer(engine: LlamaEngine) -> None:
    for _ in range(10):
        text, _, reason = await answer(engine, 400, response_format=schema(NODE))
        assert reason is FinishReason.STOP
        check_node(json.loads(text))


async def test_a_tools_parameters_may_refer_to_definitions_and_to_themselves(engine: LlamaEngine) -> None:
    tool = Tool("link", "", json.dumps(NODE))
    for _ in range(10):
        required = ToolChoice(ToolMode.REQUIRED)
        _, [call], reason = await answer(engine, 400, tools=(tool, CLOCK, tool_named("other")), tool_choice=required)
        assert reason is FinishReason.TOOL_CALLS
        if call.name != "get_time":
            check_node(json.loads(call.arguments))


def tool_named(name: str) -> Tool:
    return Tool(name, "", json.dumps(NODE))


async def test_a_json_object_that_ends_by_itself_is_json(engine: LlamaEngine) -> None:
    wanted = ResponseFormat(FormatKind.JSON_OBJECT)
    answers = await asyncio.gather(*(answer(engine, response_format=wanted) for _ in range(10)))
    for text, _, reason in answers:
        assert text.startswith("{")
        if reason is FinishReason.STOP:
            assert isinstance(json.loads(text), dict)


PLACE = {"type": "object", "properties": {"location": {"type": "string", "maxLength": 20}}, "required": ["location"]}
ASKED = "What is the weather in Lisbon?"


async def test_a_call_that_the_model_chose_fits_the_schema_too(engine: LlamaEngine) -> None:
    tool = Tool("get_weather", "The weather of a place", json.dumps(PLACE))  # unforced the model would write "city"
    for temperature in (0, 1):
        sampling = Sampling(temperature=temperature)
        text, calls, reason = await answer(engine, asked=ASKED, tools=(tool, CLOCK), sampling=sampling)
        assert (text, reason) == ("", FinishReason.TOOL_CALLS)
        for call in calls:
            assert set(json.loads(call.arguments)) == {"location"}


async def test_with_a_tool_at_hand_text_stays_free_and_ends(engine: LlamaEngine) -> None:
    for asked in ("Hello!", "Write a haiku"):
        with_tools = await answer(engine, asked=asked, tools=(WEATHER,), sampling=Sampling(temperature=0))
        assert with_tools[0]
        assert with_tools[1:] == ([], FinishReason.STOP)


async def test_a_chosen_call_is_any_object_where_its_schema_is_too_much(engine: LlamaEngine) -> None:
    wild = json.dumps({"type": "object", "properties": {"city": {"type": "string", "pattern": "^(?=[A-Z])"}}})
    text, [call], reason = await answer(engine, asked=ASKED, tools=(Tool("get_weather", "The weather", wild),))
    assert (text, call.name, reason) == ("", "get_weather", FinishReason.TOOL_CALLS)
    assert isinstance(json.loads(call.arguments), dict)
    with pytest.raises(InvalidRequest, match="pattern") as caught:
        await answer(engine, asked=ASKED, tools=(CLOCK, Tool("get_weather", "The weather", wild, strict=True)))
    assert caught.value.param == "tools[1].function.parameters"


async def test_with_tools_and_a_schema_the_answer_is_one_or_the_other(engine: LlamaEngine) -> None:
    wanted = schema({"type": "object", "properties": {"a": {"type": "string", "maxLength": 4}}, "required": ["a"]})
    for _ in range(8):
        text, calls, reason = await answer(engine, tools=(WEATHER,), response_format=wanted)
        if calls:
            assert (text, reason) == ("", FinishReason.TOOL_CALLS)
        else:
            assert set(json.loads(text)) == {"a"}


IMPOSSIBLE = [
    {"type": "string", "minLength": 5, "maxLength": 2},
    {"type": "integer", "minimum": 5, "maximum": 2},
    {"enum": [1], "type": "string"},
    {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]},
]


@pytest.mark.parametrize("impossible", IMPOSSIBLE)
async def test_a_schema_that_the_worker_would_silently_ignore_is_refused(engine: LlamaEngine, impossible: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await answer(engine, response_format=schema(impossible, strict=True))
    assert caught.value.param == "response_format"


@pytest.mark.parametrize("impossible", IMPOSSIBLE)
@pytest.mark.parametrize("mode", [ToolMode.REQUIRED, ToolMode.FUNCTION, ToolMode.AUTO])
async def test_of_several_tools_the_one_whose_schema_would_be_ignored_is_named(
    engine: LlamaEngine, impossible: Any, mode: ToolMode
) -> None:
    parameters = json.dumps({"type": "object", "properties": {"x": impossible}, "required": ["x"]})
    bad = Tool("bad", "", parameters, strict=True)
    choice = ToolChoice(mode, "bad" if mode is ToolMode.FUNCTION else "")
    wanted = schema({"type": "boolean"}) if mode is ToolMode.AUTO else ResponseFormat()
    with pytest.raises(InvalidRequest) as caught:
        await answer(engine, tools=(WEATHER, bad, CLOCK), tool_choice=choice, response_format=wanted)
    assert caught.value.param == "tools[1].function.parameters"


async def test_the_largest_schemas_that_pass_do_not_stop_the_worker_for_others(engine: LlamaEngine) -> None:
    names = [f"p{number}" for number in range(256)]
    wide = {
        "type": "object",
        "properties": {n: {"type": "string", "maxLength": 4096} for n in names},
        "required": names,
    }
    values = {"enum": [f"value {number} {'x' * 20}" for number in range(512)]}
    for hostile in (wide, values):
        async with asyncio.timeout(15):
            await answer(engine, 20, response_format=schema(hostile))
    assert engine.ready


# What zod 4 and pydantic 2 write for these types, and what else clients send; each with what an answer must look like.
ZOD_EMAIL = {
    "type": "string",
    "format": "email",
    "pattern": r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
}
FROM_LIBRARIES: dict[str, tuple[Any, str]] = {
    "zod email": (ZOD_EMAIL, r'"[^"]+@[^"]+"'),
    "zod url": ({"type": "string", "format": "uri"}, r'"https?://[^"/]+.*"'),
    "HttpUrl": ({"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083}, r'"https?://[^"/]+.*"'),
    "a set": ({"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "maxItems": 3}, r"\[.*\]"),
    "a tuple": (
        {"type": "array", "prefixItems": [{"enum": ["a"]}, {"enum": [1]}], "minItems": 2, "maxItems": 2},
        r'\["a",1\]',
    ),
    "a tuple of draft 7": (
        {"type": "array", "items": [{"enum": ["a"]}], "minItems": 1, "additionalItems": False},
        r'\["a"\]',
    ),
    "a pattern": ({"type": "string", "pattern": "^[a-z]{3}-[0-9]{2}$"}, r'"[a-z]{3}-\d\d"'),
    "a pattern that cannot be held": ({"type": "string", "pattern": r"^(?=a)\w+$", "maxLength": 5}, r'".{0,5}"'),
    "a pattern that would be too much": (
        {"type": "string", "pattern": "^((a{99}){99}){99}$", "maxLength": 5},
        r'".{0,5}"',
    ),
    "multiples": ({"type": "integer", "multipleOf": 5, "minimum": 1, "maximum": 99}, r"\d?[05]"),
    "other multiples": ({"type": "integer", "multipleOf": 99991, "minimum": 1, "maximum": 99}, r"\d\d?"),
    "unknown format": ({"type": "string", "format": "iri", "maxLength": 5}, r'".{0,5}"'),
    "not": ({"type": "string", "not": {"const": "x"}, "maxLength": 5}, r'".{0,5}"'),
    "branches that overlap": ({"oneOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, r"[123]"),
    "elsewhere": ({"anyOf": [{"$ref": "https://example.com/schema"}, {"type": "null"}]}, r".*"),
    "pattern properties": (
        {
            "type": "object",
            "patternProperties": {"^x[0-9]$": {"enum": [1]}},
            "maxProperties": 1,
            "additionalProperties": False,
        },
        r'\{("x\d":1)?\}',
    ),
    "dict[Enum, int]": (
        {"type": "object", "propertyNames": {"$ref": "#/$defs/Color"}, "additionalProperties": {"enum": [1, 2]}},
        r'\{("red":[12])?,?("blue":[12])?\}',
    ),
    "inheritance": (
        {
            "allOf": [{"$ref": "#/$defs/Base"}],
            "properties": {"b": {"enum": [2]}},
            "required": ["b"],
        },
        r'\{("a":1,"b":2|"b":2,"a":1)\}',
    ),
}
DEFINED = {
    "Color": {"type": "string", "enum": ["red", "blue"]},
    "Base": {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]},
}


@pytest.mark.parametrize(("value", "form"), FROM_LIBRARIES.values(), ids=FROM_LIBRARIES.keys())
async def test_what_libraries_write_is_held_as_far_as_it_can_be(engine: LlamaEngine, value: Any, form: str) -> None:
    whole = {"type": "object", "properties": {"x": value}, "required": ["x"], "$defs": DEFINED}
    wrapped = re.compile(rf'\{{"x":{form}\}}', re.DOTALL)
    text, _, reason = await answer(engine, response_format=schema(whole))
    assert reason is FinishReason.LENGTH or wrapped.fullmatch(text), text
    tool = Tool("f", "", json.dumps(whole))
    _, [call], reason = await answer(engine, tools=(tool,), tool_choice=ToolChoice(ToolMode.REQUIRED))
    assert reason is FinishReason.LENGTH or wrapped.fullmatch(call.arguments), call.arguments
    either = await answer(engine, tools=(tool,), response_format=ResponseFormat(FormatKind.JSON_OBJECT))
    assert either[0] or either[1]
    await answer(engine, tools=(tool,))


@pytest.mark.parametrize("impossible", IMPOSSIBLE)
async def test_an_impossible_schema_that_is_not_strict_is_held_to_its_form(
    engine: LlamaEngine, impossible: Any
) -> None:
    whole = {"type": "object", "properties": {"x": impossible}, "required": ["x"]}
    text, _, reason = await answer(engine, response_format=schema(whole))
    assert reason is FinishReason.LENGTH or isinstance(json.loads(text), dict)


@pytest.mark.parametrize("keyword", ["uniqueItems", "not", "propertyNames", "if", "contains", "dependentRequired"])
async def test_a_strict_schema_with_a_keyword_that_cannot_be_held_is_refused_by_its_name(
    engine: LlamaEngine, keyword: str
) -> None:
    value = {"type": "object", "properties": {"x": {keyword: {}}}, "required": ["x"]}
    for fields in (
        {"response_format": schema(value, strict=True)},
        {"tools": (Tool("f", "", json.dumps(value), strict=True),), "tool_choice": ToolChoice(ToolMode.REQUIRED)},
        {"tools": (Tool("f", "", json.dumps(value), strict=True),)},
    ):
        with pytest.raises(InvalidRequest, match=keyword):
            await answer(engine, **fields)


async def test_strict_schemas_hold_patterns_and_urls(engine: LlamaEngine) -> None:
    for value, form in (FROM_LIBRARIES["a pattern"], FROM_LIBRARIES["HttpUrl"], FROM_LIBRARIES["a tuple"]):
        whole = {"type": "object", "properties": {"x": value}, "required": ["x"], "additionalProperties": False}
        text, _, reason = await answer(engine, response_format=schema(whole, strict=True))
        assert reason is FinishReason.LENGTH or re.fullmatch(rf'\{{"x":{form}\}}', text), text
