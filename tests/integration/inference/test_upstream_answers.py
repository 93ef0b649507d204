"""The upstream engine against servers that answer in every wrong way: what is said, counted and never exceeded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
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
from services.inference.domain.engine import Delta, FinishReason, Usage
from services.inference.domain.errors import EngineUnavailable, InvalidRequest, Overloaded
from services.inference.engines.routed.engine import RoutedEngine
from services.inference.engines.upstream.refusals import UNTOLD
from tests.fakes_engine import start_upstream
from tests.upstreams import (
    Play,
    Upstream,
    chunk,
    encoded,
    end,
    endless,
    hang_up,
    silence,
    status,
    stream,
    text,
    upstream,
    usage,
)

HELLO = [chunk({"role": "assistant", "content": ""}), text("Hel"), text("lo"), end(), usage(7, 2)]


def ask(said: str = "Hello!", **sampling: Any) -> ChatRequest:
    return ChatRequest("muh-chat", (Message(Role.USER, (said,)),), sampling=Sampling(**sampling))


@asynccontextmanager
async def serving(play: Play, key: str = "sk-canary", **fields: Any) -> AsyncIterator[tuple[Upstream, RoutedEngine]]:
    async with upstream(play) as server, start_upstream(server.url, key, **fields) as engine:
        yield server, engine


async def run(engine: RoutedEngine, request: ChatRequest | None = None, most: int = 100) -> tuple[list[Delta], Usage]:
    deltas: list[Delta] = []
    prompt = await engine.prepare(request or ask())
    async with asyncio.timeout(20), aclosing(prompt.generate(most)) as steps:
        async for step in steps:
            if isinstance(step, Usage):
                return deltas, step
            deltas += step
    raise AssertionError("no usage at the end")


def said(deltas: list[Delta], choice: int = 0) -> str:
    return "".join(delta.text for delta in deltas if delta.choice == choice)


def counted(deltas: list[Delta]) -> int:
    return sum(delta.tokens for delta in deltas)


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
    answer = [end(), end(index=1), usage(9, 2)]
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
        ([text("x" * 40), text("y" * 40), end(), usage(7, 31)], [10, 10], 31),
        ([text("x" * 40), text("y" * 40), end(), usage(7, 5)], [10, 10], 5),
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
    async with serving(stream(text("x" * 40), end(), *last)) as (_, engine):
        prompt = await engine.prepare(ask())
        deltas, total = await run(engine)
    assert total == Usage(prompt.prepared.prompt_tokens, 10, estimated=True)
    assert counted(deltas) == 10


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
    assert counted(deltas) == total.output_tokens == 10


@pytest.mark.parametrize(
    ("play", "detail"),
    [
        (status(500), "answered 500"),
        (status(404), "answered 404"),
        (status(302, Location="http://127.0.0.1:1/"), "answered 302"),
        (status(401, {"error": {"message": "the key sk-canary is wrong"}}), r"refuses our key \(401\)"),
        (status(403), r"refuses our key \(403\)"),
        (status(200, {"choices": []}), "not a stream"),
        (hang_up, "broke the connection"),
        (stream(b"data: {nonsense\n\n", done=False), "not JSON"),
        (stream(b"data: [1, 2]\n\n", done=False), "another form"),
        (stream({"choices": [{"index": 9, "delta": {"content": "x"}}]}), "another form"),
        (stream(b"data: " + b"x" * 2_000_000, done=False), "larger than 1,048,576 bytes"),
        (stream({"error": {"message": "secret reason", "code": 500}}), "answered 500"),
        (stream({"error": {"message": "secret reason"}}), "ended the answer with an error"),
        (stream(done=False), "cut off"),
        (stream(end("abort")), "broke the answer off"),
    ],
)
async def test_what_is_the_upstreams_fault_is_unavailable_and_tells_no_secret(
    play: Play, detail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(play) as (_, engine):
        with pytest.raises(EngineUnavailable, match=detail) as caught:
            await run(engine)
    told = caught.value.message + capsys.readouterr().out
    assert "canary" not in told
    assert "secret" not in told


async def test_a_key_that_is_refused_is_an_error_in_the_log_that_names_the_target(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serving(status(401), name="provider") as (_, engine):
        with pytest.raises(EngineUnavailable):
            await run(engine)
    (line, *_) = [line for line in capsys.readouterr().out.splitlines() if "upstream_refuses_key" in line]
    assert "error" in line
    assert "provider" in line


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({"error": {"message": "temperature is odd", "param": "temperature"}}, "temperature is odd", "temperature"),
        ({"error": {"message": "a\nb\x00" + "c" * 900, "param": "x y"}}, "a b " + "c" * 496, ""),
        ({"detail": "secret"}, "the upstream refuses this request and does not say why", ""),
        (b"<html>", "the upstream refuses this request and does not say why", ""),
        ({"error": "secret"}, "the upstream refuses this request and does not say why", ""),
    ],
)
async def test_a_400_stays_the_clients_with_a_bounded_message(body: Any, message: str, param: str) -> None:
    async with serving(status(400, body)) as (server, engine):
        for _ in range(5):  # and is no reason to leave the target alone
            with pytest.raises(InvalidRequest) as caught:
                await run(engine)
            assert (caught.value.message, caught.value.param) == (message, param)
    assert len(server.requests) == 5, "a 400 is not repeated"


@pytest.mark.parametrize(
    "error",
    [
        {"message": "no such key: gsk_canary_of_a_key"},
        {"message": "no such key: Bearer gsk_canar…"},
        {"message": "odd", "param": "canary_of_a"},
        {"message": "the organisation acme-research is unknown"},
    ],
)
async def test_a_400_that_repeats_our_key_or_our_headers_is_told_without_its_words(error: dict[str, str]) -> None:
    headers = (("X-Organisation", "acme-research"),)
    for play in (status(400, {"error": error}), stream({"error": {**error, "code": 400}})):
        async with serving(play, key="gsk_canary_of_a_key", headers=headers) as (_, engine):
            with pytest.raises(InvalidRequest) as caught:
                await run(engine)
            assert (str(caught.value), caught.value.param) == (UNTOLD, "")


async def test_a_429_alone_is_overloaded_until_the_time_that_the_upstream_names() -> None:
    async with serving(status(429, Retry_After="7")) as (server, engine):
        for _ in range(2):
            with pytest.raises(Overloaded) as caught:
                await run(engine)
            assert caught.value.retry_after == pytest.approx(7, abs=1)
    assert len(server.requests) == 1
    assert engine.ready


@pytest.mark.parametrize(
    ("play", "what"),
    [(silence, "first"), (stream(done=False, hold=True), "first"), (stream(HELLO[0], done=False, hold=True), "first")],
    ids=["before the headers", "after the headers", "after the role"],
)
async def test_a_first_token_that_does_not_come_ends_in_time(play: Play, what: str) -> None:
    async with serving(play, first_token_timeout=0.05) as (server, engine):
        with pytest.raises(EngineUnavailable, match=f"the {what} token did not come"):
            await run(engine)
        await server.left()


async def test_a_stream_that_stands_still_ends_in_time_after_what_it_gave() -> None:
    async with serving(stream(text("x"), done=False, hold=True), token_timeout=0.05) as (server, engine):
        prompt = await engine.prepare(ask())
        async with aclosing(prompt.generate(10)) as steps:
            (delta,) = await anext(steps)
            with pytest.raises(EngineUnavailable, match="the next token did not come"):
                await anext(steps)
        await server.left()
    assert delta.text == "x"
    assert len(server.requests) == 1, "nothing is repeated after the first token"


@pytest.mark.parametrize("play", [silence, stream(text("x"), done=False, hold=True), endless])
async def test_leaving_closes_the_upstreams_connection_at_once(play: Play) -> None:
    async with serving(play) as (server, engine):
        prompt = await engine.prepare(ask())

        async def consume() -> None:
            async with aclosing(prompt.generate(100_000)) as steps:
                async for _ in steps:
                    pass

        task = asyncio.create_task(consume())
        async with asyncio.timeout(5):
            while not server.requests:  # noqa: ASYNC110  the server says nothing when it is asked
                await asyncio.sleep(0.002)
        started = asyncio.get_running_loop().time()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.left()
        assert asyncio.get_running_loop().time() - started < 5, "0.25 s is promised; a busy machine has room here"
    assert engine.routes.all[0].outstanding == 0


async def test_vllm_counts_the_prompt_before_and_tells_a_running_count() -> None:
    async def play(asked: Any, writer: Any) -> None:
        is_count = asked.path == "/tokenize"
        await (status(200, {"count": 123, "max_model_len": 2048, "tokens": []}) if is_count else stream(*HELLO))(
            asked, writer
        )

    request = ChatRequest("muh-chat", ask().messages, tools=(Tool("look"),))
    async with serving(play, server="vllm") as (server, engine):
        prompt = await engine.prepare(request)
        assert (prompt.prepared.prompt_tokens, prompt.prepared.max_tokens) == (123, 2048 - 123)
        await run(engine, request)
    assert server.requests[0].body == {
        "model": "served-name",
        "messages": [{"role": "user", "content": "Hello!"}],
        "tools": [{"type": "function", "function": {"name": "look"}}],
        "add_generation_prompt": True,
    }
    options = server.requests[-1].body["stream_options"]
    assert options == {"include_usage": True, "continuous_usage_stats": True}


@pytest.mark.parametrize("count", [status(404), status(200, b"nonsense"), status(200, {}), status(500)])
@pytest.mark.parametrize("server", ["vllm", "llama.cpp"])
async def test_a_count_that_cannot_be_had_becomes_an_upper_bound(count: Play, server: str) -> None:
    async with serving(count, server=server) as (_, engine):
        prepared = (await engine.prepare(ask("x" * 500))).prepared
    assert 500 < prepared.prompt_tokens < 1000
    assert prepared.max_tokens == 2048 - 500 // 4
    assert prepared.estimated


async def test_an_image_is_bounded_by_what_the_list_says() -> None:
    message = Message(Role.USER, ("Look!", Picture(b"jpeg", 64, 64)))
    fields = {"abilities": frozenset({"vision"}), "image_tokens": 900, "context_length": 10_000}
    async with serving(stream(*HELLO), **fields) as (_, engine):
        prepared = (await engine.prepare(ChatRequest("muh-chat", (message,)))).prepared
    assert 900 < prepared.prompt_tokens < 1300
