"""The upstream engine against servers that answer in every way: what is passed on, said and counted."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from services.inference.domain.chat import (
    ChatRequest,
    FormatKind,
    Message,
    Picture,
    ResponseFormat,
    Role,
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from services.inference.domain.engine import FinishReason, Usage
from tests.integration.inference.upstream_client import HELLO, ask, counted, run, said, serving
from tests.upstreams import (
    Play,
    chunk,
    encoded,
    end,
    endless,
    stream,
    text,
    usage,
)

CRLF = encoded(*HELLO).replace(b"\n", b"\r\n")
COMMENTS = b": hello\n\n" + encoded(*HELLO[:2], done=False) + b": ping\n\nevent: x\nid: 1\n" + encoded(*HELLO[2:])
LINES = b"\n".join(b"data: " + line for line in json.dumps(HELLO[1], indent=1).encode().split(b"\n")) + b"\n\n"


@pytest.mark.parametrize(
    "play",
    [
        stream(*HELLO),
        stream(*HELLO, size=1),
        stream(*HELLO, done=False),
        stream(CRLF, done=False),
        stream(CRLF, done=False, size=1),
        stream(CRLF.replace(b"\r\n", b"\r"), done=False, size=3),
        stream(b"\xef\xbb\xbf" + COMMENTS, done=False, size=7),
        stream(HELLO[0], LINES, *HELLO[2:]),
        stream(encoded(*HELLO)[:-2], done=False),
        stream(*HELLO, hold=True),
        stream(*HELLO[:3], end(usage={"prompt_tokens": 7, "completion_tokens": 2})),
    ],
    ids=[
        *("plain", "byte by byte", "no DONE", "CRLF", "CRLF byte by byte", "CR", "comments and BOM", "multi-line data"),
        *("no empty line at the end", "left open", "usage beside the end"),
    ],
)
async def test_the_answer_is_the_same_however_it_is_cut_and_written(play: Play) -> None:
    async with serving(play) as (_, engine):
        deltas, total = await run(engine)
    assert said(deltas) == "Hello"
    assert total == Usage(7, 2)
    assert counted(deltas) == 2
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == [FinishReason.STOP]
    assert deltas[-1].finish_reason is FinishReason.STOP


async def test_everything_of_a_request_is_passed_on_as_it_is() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    request = ChatRequest(
        "muh-chat",
        (
            Message(Role.SYSTEM, ("Be short.",)),
            Message(Role.USER, ("What is it?", Picture(b"jpeg", 64, 64)), name="ada"),
            Message(Role.ASSISTANT, (), tool_calls=(ToolCall("c1", "look", '{"at": "é"}'),)),
            Message(Role.TOOL, ("a circle",), tool_call_id="c1"),
        ),
        tools=(Tool("look", "Looks.", json.dumps(schema), strict=True), Tool("wait")),
        tool_choice=ToolChoice(ToolMode.FUNCTION, "look"),
        parallel_tool_calls=False,
        response_format=ResponseFormat(FormatKind.JSON_SCHEMA, "found", json.dumps(schema), strict=True),
        sampling=Sampling(0.0, 0.5, ("END",), 0.25, -0.5, 7, 2, True, 3, {15: -100.0}),
    )
    abilities = frozenset({"tools", "json", "vision"})
    called = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "look", "arguments": "{}"}}]}
    answer = [chunk(called), chunk(called, index=1), end(), end(index=1), usage(9, 2)]
    fields = {"abilities": abilities, "headers": (("X-Team", "chat"),), "context_length": 10_000}
    async with serving(stream(*answer), **fields) as (server, engine):
        await run(engine, request, 55)
    (asked,) = server.requests
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["x-team"] == "chat"
    function = {"name": "look", "description": "Looks.", "parameters": schema, "strict": True}
    picture = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,anBlZw=="}}
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "é"}'}}
    assert asked.body == {
        "model": "served-name",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture], "name": "ada"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "a circle", "tool_call_id": "c1"},
        ],
        "tools": [{"type": "function", "function": function}, {"type": "function", "function": {"name": "wait"}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "found", "schema": schema, "strict": True},
        },
        "temperature": 0.0,
        "top_p": 0.5,
        "stop": ["END"],
        "frequency_penalty": 0.25,
        "presence_penalty": -0.5,
        "seed": 7,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"15": -100.0},
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 55,
    }


async def test_what_was_not_asked_for_is_not_passed_on_and_the_key_is_in_its_header() -> None:
    async with serving(stream(*HELLO), max_tokens_field="max_completion_tokens") as (server, engine):
        await run(engine, most=9)
    assert server.requests[0].headers["authorization"] == "Bearer sk-canary"
    assert server.requests[0].body == {
        "model": "served-name",
        "messages": [{"role": "user", "content": "Hello!"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 9,
    }


async def test_tool_calls_come_piece_by_piece_with_their_ids() -> None:
    def call(index: int, **fields: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": index, **fields}]})

    answer = [
        call(0, id="c1", type="function", function={"name": "look", "arguments": ""}),
        call(0, function={"arguments": '{"a":'}),
        call(0, function={"arguments": "1}"}),
        call(1, id="c2", type="function", function={"name": "wait", "arguments": "{}"}),
        call(2, type="function", function={"name": "rest", "arguments": "{}"}),
        end("stop"),
        usage(7, 30),
    ]
    request = ChatRequest("muh-chat", ask().messages, tools=(Tool("look"), Tool("wait"), Tool("rest")))
    async with serving(stream(*answer)) as (_, engine):
        deltas, total = await run(engine, request)
    calls = [call for delta in deltas for call in delta.tool_calls]
    assert [(call.index, call.id, call.name, call.arguments) for call in calls] == [
        *((0, "c1", "look", ""), (0, "", "", '{"a":'), (0, "", "", "1}")),
        *((1, "c2", "wait", "{}"), (2, "call_0", "rest", "{}")),
    ]
    assert deltas[-1].finish_reason is FinishReason.TOOL_CALLS
    assert counted(deltas) == total.output_tokens == 30


async def test_log_probabilities_count_and_are_passed_on() -> None:
    rival = {"token": "B", "logprob": -2.0, "bytes": None}
    told = {"content": [{"token": "A", "logprob": -0.5, "bytes": [65], "top_logprobs": [rival]}] * 3}
    item = {"index": 0, "delta": {"content": "AAA"}, "logprobs": told, "finish_reason": None}
    async with serving(stream({"choices": [item]}, end(), usage(7, 3))) as (_, engine):
        deltas, _ = await run(engine, ask(logprobs=True, top_logprobs=1))
    assert deltas[0].tokens == 3
    assert [(p.token, p.utf8, p.top[0].utf8) for p in deltas[0].logprobs] == [("A", b"A", b"B")] * 3


@pytest.mark.parametrize(
    ("answer", "running", "output"),
    [
        ([text("one two"), text(" three four"), end(), usage(7, 31)], [2, 2], 31),
        ([text("one two"), text(" three four"), end(), usage(7, 3)], [2, 2], 3),
        (
            [
                text("one two", usage={"prompt_tokens": 7, "completion_tokens": 2}),
                text(" three", usage={"prompt_tokens": 7, "completion_tokens": 3}),
                end(usage={"prompt_tokens": 7, "completion_tokens": 4}),
                usage(7, 4),
            ],
            [2, 1, 1],
            4,
        ),
        ([text("one two", timings={"predicted_n": 2}), end(timings={"predicted_n": 3}), usage(7, 3)], [2, 1], 3),
    ],
    ids=["estimated too low", "estimated too high", "continuous usage", "timings"],
)
async def test_running_counts_end_in_the_upstreams_own(answer: list[Any], running: list[int], output: int) -> None:
    async with serving(stream(*answer)) as (_, engine):
        deltas, total = await run(engine)
    assert [delta.tokens for delta in deltas[:-1]] == running
    assert total == Usage(7, output)
    assert counted(deltas) == max(output, sum(running))


@pytest.mark.parametrize("last", [[], [usage(7, 0)]], ids=["no usage", "a usage that cannot be"])
async def test_without_usage_it_is_counted_here_and_says_so(last: list[Any]) -> None:
    async with serving(stream(text("one two three"), end(), *last)) as (_, engine):
        prompt = await engine.prepare(ask())
        deltas, total = await run(engine)
    known = 7 if last else prompt.prepared.prompt_tokens
    assert total == Usage(known, 3, estimated=True)
    assert counted(deltas) == 3


async def test_each_of_several_choices_has_its_own_text_and_end() -> None:
    answer = [text("a"), text("b", 1), end("length", 1), text("c"), end(), usage(7, 5)]
    async with serving(stream(*answer)) as (_, engine):
        deltas, total = await run(engine, ask(choices=2))
    assert (said(deltas), said(deltas, 1)) == ("ac", "b")
    reasons = [(delta.choice, delta.finish_reason) for delta in deltas if delta.finish_reason]
    assert reasons == [(0, FinishReason.STOP), (1, FinishReason.LENGTH)]
    assert counted(deltas) == total.output_tokens == 5


async def test_an_upstream_that_never_ends_is_cut_at_what_was_asked_for() -> None:
    async def counting(asked: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(1, 1000):
            writer.write(encoded(text("x", timings={"predicted_n": number}), done=False))
            await writer.drain()
            await asyncio.sleep(0)

    for play in (endless, counting):
        async with serving(play) as (server, engine):
            deltas, total = await run(engine, most=4)
            await server.left()
        assert counted(deltas) == total.output_tokens == 4
        assert deltas[-1].finish_reason is FinishReason.LENGTH


async def test_a_usage_above_what_was_asked_for_is_not_taken() -> None:
    async with serving(stream(text("x"), end(), usage(7, 5000))) as (_, engine):
        deltas, total = await run(engine, most=10)
    assert counted(deltas) == total.output_tokens == 1
    assert total.estimated
