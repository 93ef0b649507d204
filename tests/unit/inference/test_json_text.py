"""JSON within strings: how deep it nests, and what of it may go on as parsed."""

from __future__ import annotations

import time

import pytest

from services.inference.domain.chat import ChatRequest, FormatKind, Message, ResponseFormat, Role, Tool, ToolCall
from services.inference.domain.errors import InvalidRequest
from services.inference.domain.json.text import MAX_DEPTH, MAX_MEMBERS, MAX_VALUES, nests_deeper, parse
from services.inference.domain.limits import check

DEEP = "[" * 35_000 + "]" * 35_000
HELLO = Message(Role.USER, ("Hello",))


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        "[" * 65,
        '{"a":' * 65,
        '{"\\"[": ' * 65 + "1",
        '"' + "]" * 500 + '"' + "[{" * 33,
        '{"a": "\\\\", "b": ' * 65,
    ],
)
def test_brackets_count_whether_or_not_the_text_is_json(text: str) -> None:
    assert nests_deeper(text)


@pytest.mark.parametrize(
    "text", ["[" * MAX_DEPTH + "]" * MAX_DEPTH, '"' + "[" * 500 + '"', '"\\"' + "[" * 500, "[]" * 5000, "", "[" * 64]
)
def test_brackets_within_strings_or_beside_each_other_do_not(text: str) -> None:
    assert not nests_deeper(text)


def test_a_megabyte_of_brackets_is_measured_at_once() -> None:
    began = time.process_time()
    for text in ("[]" * 500_000, '"' * 1_000_000, '"\\' * 500_000, '[""' * 300_000):
        nests_deeper(text)
    assert time.process_time() - began < 2, "it takes a few hundredths of a second each"


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        "",
        '{"a":',
        '{"a":1}{"b":2}',
        "NaN",
        '{"a": -Infinity}',
        '{"a": 1e400}',
        "9" * 100_000,
        "9" * 400,
        "{" + ",".join(f'"{number}":1' for number in range(MAX_MEMBERS + 1)) + "}",
        "[" + "1," * MAX_VALUES + "1]",
    ],
)
def test_what_a_native_parser_could_not_take_is_not_parsed(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_a_lone_surrogate_is_replaced_in_values_and_names() -> None:
    assert parse('{"\\ud83d": ["\\udc00x", "\\ud83d\\ude00"]}') == {"\ufffd": ["\ufffdx", "\U0001f600"]}


def test_an_integer_beyond_64_bits_becomes_a_float() -> None:
    assert parse("[18446744073709551615, 18446744073709551616]") == [18446744073709551615, 18446744073709551616.0]


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (
            ChatRequest("m", (Message(Role.ASSISTANT, (), tool_calls=(ToolCall("c", "f", DEEP),)),)),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (ChatRequest("m", (HELLO,), tools=(Tool("f", "", DEEP),)), "tools[0].function.parameters"),
        (
            ChatRequest("m", (HELLO,), response_format=ResponseFormat(FormatKind.JSON_SCHEMA, "a", DEEP)),
            "response_format.json_schema.schema",
        ),
    ],
)
def test_a_request_with_deep_json_is_refused_by_the_name_of_its_field(request_: ChatRequest, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(request_, 1024 * 1024)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "message",
    [
        Message(Role.USER, ("",) * 20_000),
        Message(Role.ASSISTANT, (), tool_calls=(ToolCall("c", "f", "{}"),) * 20_000),
        Message(Role.TOOL, ("x",), tool_call_id="i" * 2_000_000),
        Message(Role.ASSISTANT, (), tool_calls=(ToolCall("i" * 2_000_000, "f", "{}"),)),
    ],
    ids=["parts", "calls", "an id", "a call's id"],
)
def test_messages_of_too_many_parts_or_too_long_ids_are_refused(message: Message) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(ChatRequest("m", (message,)), 1024 * 1024)
    assert refused.value.param == "messages"
