"""Servers that write OpenAI's chunks in a way of their own: the client gets OpenAI's form from each of them."""

from __future__ import annotations

from typing import Any

import pytest

from services.inference.domain.chat import ChatRequest, Tool
from services.inference.domain.engine import FinishReason, Usage
from services.inference.domain.errors import EngineUnavailable
from tests.integration.inference.upstream_client import ask, counted, run, said, serving
from tests.upstreams import chunk, end, stream, text, usage

TOOLS = ChatRequest("muh-chat", ask().messages, tools=(Tool("look"), Tool("wait")))


def calls(*pieces: dict[str, Any]) -> dict[str, Any]:
    return chunk({"tool_calls": list(pieces)})


def call(name: str | None = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {**fields, "function": {key: value for key, value in function.items() if value is not None}}


async def called(*chunks: dict[str, Any], reason: str | None = "tool_calls") -> list[tuple[str, str]]:
    """Name and arguments of each call that the client gets; every call has an id of its own."""
    answer = [*chunks, end(reason), usage(7, 9)] if reason else chunks
    async with serving(stream(*answer)) as (_, engine):
        deltas, _ = await run(engine, TOOLS)
    found: dict[int, list[str]] = {}
    for piece in (piece for delta in deltas for piece in delta.tool_calls):
        known = found.setdefault(piece.index, ["", "", ""])
        for place, part in enumerate((piece.id, piece.name, piece.arguments)):
            known[place] += part
    ids = [known[0] for known in found.values()]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert list(found) == list(range(len(found)))
    assert deltas[-1].finish_reason is FinishReason.TOOL_CALLS
    return [(known[1], known[2]) for known in found.values()]


@pytest.mark.parametrize("nothing", ["", None, {}, "null", "{}", " "])
async def test_a_call_without_arguments_has_an_empty_object(nothing: Any) -> None:
    function = {"name": "look", "arguments": nothing}
    piece = {"index": 0, "id": "c1", "function": function}
    assert await called(calls(piece)) == [("look", "{}")]
    assert await called(
        calls(call("look", index=0, id="c1")), calls({"index": 0, "function": {"arguments": nothing}})
    ) == [("look", "{}")]


async def test_an_empty_object_before_the_arguments_is_no_part_of_them() -> None:
    first = call("look", {}, index=0, id="c1")
    assert await called(calls(first), calls(call(None, '{"a":1}', index=0))) == [("look", '{"a":1}')]


async def test_a_call_that_a_limit_cut_is_not_completed() -> None:
    async with serving(stream(calls(call("look", '{"a":', index=0)), end("length"), usage(7, 9))) as (_, engine):
        deltas, _ = await run(engine, TOOLS)
    assert "".join(piece.arguments for delta in deltas for piece in delta.tool_calls) == '{"a":'
    assert deltas[-1].finish_reason is FinishReason.LENGTH


TWO = [("look", '{"a":1}'), ("wait", '{"b":2}')]
SAME = [("look", '{"a":1}'), ("look", '{"a":2}')]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([calls(call("look", '{"a":1}', index=0, id="c1"), call("wait", '{"b":2}', index=0, id="c2"))], TWO),
        ([calls(call("look", '{"a":1}', index=0)), calls(call("wait", '{"b":2}', index=0))], TWO),
        ([calls(call("look", '{"a":1}')), calls(call("wait", '{"b":2}'))], TWO),
        ([calls(call("look", '{"a":1}'), call("wait", '{"b":2}'))], TWO),
        ([calls(call("look", '{"a":1}'), call("look", '{"a":2}'))], SAME),
        ([calls(call("look", '{"a":1}', index=0), call("look", '{"a":2}', index=0))], SAME),
        ([calls(call("look", {"a": 1}, index=0), call("look", {"a": 2}, index=0))], SAME),
        ([calls(call("look", '{"a":1}', id="c1"), call("look", '{"a":2}', id="c2"))], SAME),
        ([calls(call("look", '{"a":1}', index=0, id="c1"), call("look", '{"a":2}', index=1, id="c1"))], SAME),
        (
            [
                calls(call("look", "", index=0, id="c1")),
                calls(call(None, '{"a":', index=0)),
                calls(call(None, "1}", index=0)),
                calls(call("wait", "", index=0, id="c2")),
                calls(call(None, '{"b":', index=0)),
                calls(call(None, "2}", index=0)),
            ],
            TWO,
        ),
        (
            [
                calls(call("look", "", id="c1")),
                calls(call(None, '{"a":')),
                calls(call(None, "1}")),
                calls(call("wait", id="c2")),
                calls(call(None, '{"b":2}')),
            ],
            TWO,
        ),
        (
            [
                calls(call("look", id="c1")),
                calls(call("wait", id="c2")),
                calls(call(None, '{"a":1}', id="c1")),
                calls(call(None, '{"b":2}', id="c2")),
            ],
            TWO,
        ),
        (
            [calls(call("look", '{"a"', index=0, id="x1")), calls(call(None, ":1}", index=0, id="x2"))],
            [("look", '{"a":1}')],
        ),
        (
            [calls(call("look", '{"a"', index=0, id="c1")), calls(call("look", ":1}", index=0, id="c1"))],
            [("look", '{"a":1}')],
        ),
        ([calls(call("look", '{"a":1}', index=0, id="c1"))] * 2, [("look", '{"a":1}')]),
        ([calls(call("look", '{"a":1}', index="0"), call("wait", '{"b":2}', index="1"))], TWO),
        ([calls({"name": "look", "arguments": '{"a":1}'})], [("look", '{"a":1}')]),
        ([chunk({"tool_calls": call("look", '{"a":1}')})], [("look", '{"a":1}')]),
        ([chunk({"function_call": {"name": "look"}}), chunk({"function_call": {"arguments": "{}"}})], [("look", "{}")]),
        ([calls(call("look", index=0)), calls(call("look", index=0))], [("look", "{}"), ("look", "{}")]),
        ([calls(None, 7, "x", call("look", "{}"))], [("look", "{}")]),
    ],
)
async def test_each_call_is_told_from_the_next(chunks: list[dict[str, Any]], expected: list[tuple[str, str]]) -> None:
    assert await called(*chunks) == expected


async def test_more_calls_than_there_can_be_tools_are_the_upstreams_failure() -> None:
    many = [call("look", "{}", index=index) for index in range(200)]
    async with serving(stream(calls(*many), end(), usage(7, 9))) as (_, engine):
        with pytest.raises(EngineUnavailable, match="more than 128 tool calls"):
            await run(engine, TOOLS)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}],
        ["Hel", "lo"],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hello"}],
        [{"type": "output_text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": "x"}}, None, 7],
        {"type": "text", "text": "Hello"},
        [{"type": "text", "text": {"value": "Hello"}}],
    ],
)
async def test_content_in_parts_is_their_text(content: Any) -> None:
    async with serving(stream(chunk({"content": content}), end(), usage(7, 2))) as (_, engine):
        deltas, total = await run(engine)
    assert said(deltas) == "Hello"
    assert total == Usage(7, 2)


async def test_done_without_a_finish_reason_is_a_normal_end() -> None:
    async with serving(stream(text("Hello"))) as (_, engine):
        deltas, total = await run(engine)
    assert said(deltas) == "Hello"
    assert deltas[-1].finish_reason is FinishReason.STOP
    assert total.output_tokens == 1
    assert await called(calls(call("look", "{}", index=0)), reason=None) == [("look", "{}")]


async def test_an_answer_without_finish_reason_and_done_is_cut_off() -> None:
    async with serving(stream(text("Hello"), done=False)) as (_, engine):
        with pytest.raises(EngineUnavailable, match="cut off"):
            await run(engine)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (("stop", "eos", "eos_token", "end_turn", "stop_sequence", "STOP", "OTHER", "whatever"), FinishReason.STOP),
        (("length", "model_length", "max_tokens", "MAX_TOKENS", "max_output_tokens"), FinishReason.LENGTH),
        (("model_context_window_exceeded", "token_limit_reached", "LENGTH", "max-tokens"), FinishReason.LENGTH),
        (("content_filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "refusal"), FinishReason.CONTENT_FILTER),
        (({"type": "length"},), FinishReason.LENGTH),
        (("tool_calls", "tool_use", "function_call"), FinishReason.STOP),  # there was none
    ],
)
async def test_every_dialects_reason_becomes_openais(reasons: tuple[Any, ...], expected: FinishReason) -> None:
    for reason in reasons:
        async with serving(stream(text("x"), end(reason), usage(7, 2))) as (_, engine):
            deltas, _ = await run(engine)
        assert deltas[-1].finish_reason is expected, reason


@pytest.mark.parametrize("reason", ["tool_use", "function_call", "TOOL_CALLS", "stop", "end_turn", "eos"])
async def test_an_end_behind_calls_is_tool_calls(reason: str) -> None:
    assert await called(calls(call("look", "{}", index=0)), reason=reason) == [("look", "{}")]


@pytest.mark.parametrize("reason", ["error", "ABORT", "cancelled", "MALFORMED_FUNCTION_CALL", "internal_error"])
async def test_an_end_that_is_a_failure_is_one(reason: str) -> None:
    async with serving(stream(text("x"), end(reason))) as (_, engine):
        with pytest.raises(EngineUnavailable, match="broke the answer off"):
            await run(engine)


@pytest.mark.parametrize("reason", ["", "null", "none", 0, False, "FINISH_REASON_UNSPECIFIED"])
async def test_a_reason_that_says_nothing_ends_nothing(reason: Any) -> None:
    async with serving(stream(chunk({"content": "a"}, reason), text("b"), end(), usage(7, 2))) as (_, engine):
        deltas, _ = await run(engine)
    assert said(deltas) == "ab"


SILENT: list[Any] = [
    None,
    {},
    [],
    "7",
    7,
    {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
    {"prompt_tokens": 7},
    {"completion_tokens": -3, "prompt_tokens": -1},
    {"completion_tokens": True, "prompt_tokens": False},
    {"completion_tokens": 10**30, "prompt_tokens": 1e300},
    {"completion_tokens": "many", "prompt_tokens": [7]},
    {"completion_tokens": {}, "prompt_tokens": 0.5},
]


@pytest.mark.parametrize("told", SILENT)
async def test_a_usage_that_says_nothing_spoils_no_answer(told: Any) -> None:
    alone = {"choices": [], "usage": told}
    beside = {"choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": None}], "usage": told}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": told}
    for answer in ([alone, text("Hello"), end(), alone], [text("Hel"), beside, last], [text("Hello"), end(), alone]):
        async with serving(stream(*answer)) as (_, engine):
            deltas, total = await run(engine)
        assert said(deltas) == "Hello"
        assert total.estimated
        assert total.output_tokens == 1


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens": "7", "completion_tokens": "2"},
        {"prompt_tokens": 7.0, "completion_tokens": 2.0},
        {"input_tokens": 7, "output_tokens": 2},
        {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": None, "completion_tokens_details": []},
    ],
)
async def test_a_usage_in_another_form_is_read(told: dict[str, Any]) -> None:
    async with serving(stream(text("Hello"), end(), {"choices": [], "usage": told})) as (_, engine):
        _, total = await run(engine)
    assert total == Usage(7, 2)


async def test_a_usage_that_is_repeated_or_comes_early_counts_once() -> None:
    answer = [usage(7, 1), text("Hello"), end(), usage(7, 2), usage(7, 2)]
    async with serving(stream(*answer)) as (_, engine):
        deltas, total = await run(engine)
    assert total == Usage(7, 2)
    assert counted(deltas) == 2
    several = [text("a"), text("b", 1), end(), end(index=1), usage(7, 5), usage(7, 5)]
    async with serving(stream(*several)) as (_, engine):
        _, total = await run(engine, ask(choices=2))
    assert total == Usage(7, 5)


async def test_usages_behind_the_end_of_each_choice_add_up() -> None:
    answer = [text("a"), end(), usage(7, 3), text("b", 1), end(index=1), usage(7, 2)]
    async with serving(stream(*answer)) as (_, engine):
        _, total = await run(engine, ask(choices=2))
    assert total == Usage(7, 5)


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 4}},
        {"prompt_cache_hit_tokens": 5, "reasoning_tokens": 4},
        {"cached_tokens": 5, "output_tokens_details": {"reasoning_tokens": "4"}},
    ],
)
async def test_cached_and_reasoning_tokens_are_passed_on(told: dict[str, Any]) -> None:
    counts = {"prompt_tokens": 7, "completion_tokens": 6}
    async with serving(stream(text("Hello"), end(), {"choices": [], "usage": {**counts, **told}})) as (_, engine):
        _, total = await run(engine)
    assert total == Usage(7, 6, cached_tokens=5, reasoning_tokens=4)


async def test_details_above_what_they_are_part_of_are_cut_and_nonsense_is_left_out() -> None:
    told = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 900}}
    told |= {"completion_tokens_details": {"reasoning_tokens": -4}}
    async with serving(stream(text("Hello"), end(), {"choices": [], "usage": told})) as (_, engine):
        _, total = await run(engine)
    assert total == Usage(7, 2, cached_tokens=7)


async def test_half_a_character_and_numbers_that_are_none_spoil_no_answer() -> None:
    odd = rb'data: {"x":NaN,"choices":[{"index":0,"delta":{"content":"a\ud83d b"},"logprobs":{"content":['
    odd += b'{"token":"a","logprob":-Infinity},{"token":"b","logprob":NaN}]}}]}'
    async with serving(stream(odd + b"\n\n", end(), usage(7, 2))) as (_, engine):
        deltas, _ = await run(engine, ask(logprobs=True))
    assert said(deltas) == "a\ufffd b"
    assert [item.token for delta in deltas for item in delta.logprobs] == ["a"]


async def test_a_stop_sequence_that_the_upstream_left_in_the_text_is_cut_here_and_generation_ends() -> None:
    for size in (1, 2, 5, 100):
        whole = "one two END three " * 3
        pieces = [text(whole[start : start + size]) for start in range(0, len(whole), size)]
        async with serving(stream(*pieces, done=False, hold=True)) as (server, engine):
            deltas, total = await run(engine, ask(stop=("nothing", "END")))
            await server.left()
        assert said(deltas) == "one two "
        assert deltas[-1].finish_reason is FinishReason.STOP
        assert counted(deltas) == total.output_tokens
        assert total.estimated


@pytest.mark.parametrize(("stop", "choices"), [(("Hel",), 1), (("H",), 1), (("lo", "Hello"), 1), (("Hel",), 2)])
async def test_an_answer_that_begins_with_a_stop_sequence_is_not_free(stop: tuple[str, ...], choices: int) -> None:
    """It tells its client something, so a stop sequence must not make requests free."""
    pieces = [text(piece, index) for index in range(choices) for piece in ("Hel", "lo")]
    for more in ([], [usage(7, 0)], [usage(7, 2 * choices)]):
        async with serving(stream(*pieces, *(end(index=index) for index in range(choices)), *more)) as (_, engine):
            deltas, total = await run(engine, ask(stop=stop, choices=choices))
        assert (said(deltas), counted(deltas), total.output_tokens) == ("", 1, 1)


async def test_what_only_begins_like_a_stop_sequence_stays() -> None:
    for answer in ([text("a EN"), text("D of"), text(" it E"), end()], [text("a END of it E"), end()]):
        async with serving(stream(*answer, usage(7, 4))) as (_, engine):
            deltas, total = await run(engine, ask(stop=("ENDS", "E!")))
        assert said(deltas) == "a END of it E"
        assert total == Usage(7, 4)
        assert counted(deltas) >= 4


async def test_a_choice_that_a_stop_sequence_ended_does_not_end_the_others() -> None:
    answer = [text("a;b"), text("x", 1), text("c"), text("y", 1), end("stop", 1), end(), usage(7, 900)]
    async with serving(stream(*answer)) as (_, engine):
        deltas, total = await run(engine, ask(choices=2, stop=(";",)))
    assert (said(deltas), said(deltas, 1)) == ("a", "xy")
    assert total.output_tokens == counted(deltas) <= 3, "not what the upstream counts beyond the stop"
