"""Tool calls found in text, however the text is cut into pieces."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.domain.engine import ToolCallDelta
from services.inference.domain.tool_calls import ToolCallParser

ONE = '<tool_call>\n{"name":"get_weather","arguments":{"city":"Lisbon"}}\n</tool_call>'
TWO = ONE + '\n<tool_call>\n{"name":"get_time","arguments":{"zone":"a \\"}</tool\\" é"}}\n</tool_call>'
TAG_INSIDE = ONE.replace("Lisbon", "a</tool_call>b<tool_call>c")


def stream(pieces: list[str], *, cut: bool = False, single: bool = False) -> tuple[str, list[ToolCallDelta], bool]:
    """What is shown, the calls' deltas, and whether they count as made."""
    numbers = itertools.count()
    parser = ToolCallParser({"get_weather", "get_time"}, lambda: f"id{next(numbers)}", single=single)
    text, deltas = "", []
    for piece in pieces:
        shown, more = parser.feed(piece)
        text, deltas = text + shown, deltas + more
    shown, more = parser.finish(cut=cut)
    return text + shown, deltas + more, parser.called


def joined(deltas: list[ToolCallDelta]) -> list[ToolCallDelta]:
    """The calls as a client puts them together; the first delta of each has its id and name, the others have not."""
    calls: list[ToolCallDelta] = []
    for delta in deltas:
        if delta.index == len(calls):
            assert delta.id
            assert delta.name
            calls.append(delta)
        else:
            assert (delta.index, delta.id, delta.name) == (len(calls) - 1, "", "")
            last = calls[-1]
            calls[-1] = ToolCallDelta(last.index, last.id, last.name, last.arguments + delta.arguments)
    return calls


def parse(pieces: list[str], *, cut: bool = False, single: bool = False) -> tuple[str, list[ToolCallDelta], bool]:
    text, deltas, called = stream(pieces, cut=cut, single=single)
    return text, joined(deltas), called


def test_a_call_is_given_out_with_its_id_name_and_arguments() -> None:
    assert parse([ONE]) == ("", [ToolCallDelta(0, "id0", "get_weather", '{"city":"Lisbon"}')], True)


def test_the_arguments_come_as_they_are_written() -> None:
    _, deltas, _ = stream(
        ['<tool_call>\n{"name":"get_weather","arguments":', '{"ci', 'ty":"Lis', 'bon"}', "}", "\n</tool_call>"]
    )
    assert deltas == [
        ToolCallDelta(0, "id0", "get_weather"),
        ToolCallDelta(0, arguments='{"ci'),
        ToolCallDelta(0, arguments='ty":"Lis'),
        ToolCallDelta(0, arguments='bon"}'),
    ]


def test_text_before_a_call_is_shown_without_the_line_break_between() -> None:
    text, calls, _ = parse(["Let me look.\n", ONE])
    assert (text, len(calls)) == ("Let me look.", 1)


def test_parallel_calls_count_up() -> None:
    text, calls, _ = parse([TWO])
    assert text == ""
    assert [(call.index, call.name) for call in calls] == [(0, "get_weather"), (1, "get_time")]
    assert json.loads(calls[1].arguments) == {"zone": 'a "}</tool" é'}


def test_tags_in_an_argument_are_the_arguments() -> None:
    text, calls, called = parse([TAG_INSIDE])
    assert (text, called) == ("", True)
    assert [json.loads(call.arguments) for call in calls] == [{"city": "a</tool_call>b<tool_call>c"}]


def test_after_a_single_call_nothing_is_given_out() -> None:
    assert parse([TWO + " And so on."], single=True) == parse([ONE])


def test_members_in_another_order_are_a_call_too() -> None:
    whole = '<tool_call>{"arguments": {"zone": "</tool_call>"}, "name": "get_time"}</tool_call>'
    assert parse([whole])[1:] == ([ToolCallDelta(0, "id0", "get_time", '{"zone": "</tool_call>"}')], True)


def test_members_after_the_arguments_are_left_out() -> None:
    whole = ONE.replace("}}", '},"id":"x"}') + " Done."
    assert parse([whole]) == (" Done.", parse([ONE])[1], True)


@pytest.mark.parametrize("end", ["}", "}}", "}}}\n</tool_call>", "}</tool_call>"])
def test_a_call_whose_arguments_are_whole_counts_however_it_is_closed(end: str) -> None:
    assert parse([ONE[: ONE.index("}}")] + end]) == parse([ONE])


def test_text_after_a_call_without_a_closing_tag_is_shown() -> None:
    assert parse([ONE.removesuffix("</tool_call>") + "It rains."])[0].strip() == "It rains."


PIECES = [
    ONE,
    TWO,
    TAG_INSIDE,
    "Sure. " + ONE + " Done. ",
    "No call, a < b and <tool> and </tool_call>.",
    " \n padded \n ",
    " <tool_call><tool_call>{}</tool_call>" + ONE,
    ONE.replace('"Lisbon"', "Lisbon") + " " + ONE,
    ONE.replace("get_weather", "launch") + "\n" + ONE,
    '<tool_call>{"arguments": {"a": "</tool_call>"}, "name": "get_time"}</tool_call> ok',
    ONE.replace("}}", '},"id":"x"}') + ONE,
]
FRAGMENTS = st.lists(
    st.sampled_from(
        [
            "<tool_call>",
            "</tool_call>",
            '{"name":"get_time","arguments":',
            '{"a":',
            '"x',
            '"',
            "}",
            "1",
            ",",
            "\n",
            "é<",
        ]
    ),
    max_size=14,
).map("".join)


def pieces_of(whole: str, data: st.DataObject) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(PIECES) | FRAGMENTS, st.booleans(), st.booleans(), st.data())
def test_pieces_give_what_the_whole_gives(whole: str, cut: bool, single: bool, data: st.DataObject) -> None:
    kept = whole[: data.draw(st.integers(0, len(whole)))] if cut else whole
    expected = parse([kept], cut=cut, single=single)
    assert parse(pieces_of(kept, data), cut=cut, single=single) == expected
    assert parse(list(kept), cut=cut, single=single) == expected


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text()), max_size=3), st.data())
def test_whatever_the_arguments_are_they_arrive(arguments: dict[str, Any], data: st.DataObject) -> None:
    call = json.dumps({"name": "get_time", "arguments": arguments}, ensure_ascii=data.draw(st.booleans()))
    text, calls, called = parse(pieces_of(f"<tool_call>\n{call}\n</tool_call>", data))
    assert (text, called) == ("", True)
    assert [json.loads(call.arguments) for call in calls] == [arguments]


@settings(deadline=None)  # the machine may be busy
@given(FRAGMENTS, st.booleans(), st.data())
def test_calls_that_count_have_arguments_that_are_json(whole: str, cut: bool, data: st.DataObject) -> None:
    _, calls, called = parse(pieces_of(whole, data), cut=cut)
    if called:
        assert all(isinstance(json.loads(call.arguments), dict) for call in calls)


@settings(deadline=None)  # the machine may be busy
@given(st.text(alphabet='<tool_cal>/{}"name: ,\n', max_size=80), st.booleans())
def test_no_text_whatever_breaks_it_and_without_calls_nothing_is_lost(text: str, cut: bool) -> None:
    shown, calls, _ = parse(list(text), cut=cut)
    if not calls and not cut:
        assert shown == text


@pytest.mark.parametrize(
    "block",
    [
        '{"name":"launch_missiles","arguments":{}}',
        '{"name":"get_weather","arguments":[1]}',
        '{"name":"get_weather","arguments":"{}"}',
        '{"name":{},"arguments":{}}',
        '{"arguments":{"x":1e999},"name":"get_time"}',
        '{"name":get_weather,"arguments":{}}',
        "[" * 5000,
        "",
    ],
)
def test_what_only_looks_like_a_call_stays_text(block: str) -> None:
    whole = f"Look:\n<tool_call>{block}</tool_call>"
    assert parse([whole]) == (whole, [], False)


def test_arguments_that_stop_being_json_end_there_and_the_call_does_not_count() -> None:
    broken = ONE.replace('"Lisbon"', "}")
    text, calls, called = parse([broken + "\n" + ONE])
    assert (text, called) == ("", False)
    assert [call.arguments for call in calls] == ['{"city":', '{"city":"Lisbon"}']


def test_a_call_that_ends_within_its_arguments_does_not_count() -> None:
    assert parse([ONE[:-20]], cut=False)[2] is False


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert parse(['<tool_call>{"name":"get_time"}</tool_call>'])[1][0].arguments == "{}"


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ('<tool_call>\n{"name":"get_weather","arguments":{"ci', [ToolCallDelta(0, "id0", "get_weather", '{"ci')]),
        ('<tool_call>\n{"name":"get_weather","arguments":', [ToolCallDelta(0, "id0", "get_weather", "")]),
        ("<tool_call>\n", []),
        ('<tool_call>\n{"na', []),
    ],
)
def test_a_call_cut_by_the_limit_gives_what_there_is(kept: str, expected: list[ToolCallDelta]) -> None:
    assert parse([kept], cut=True) == ("", expected, False)
