"""Whatever an upstream sends, in whatever pieces: a sound answer or a failure, in bounded time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gzip
import json
import os
import tracemalloc
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.inference import convert
from services.inference.domain.chat import ChatRequest, Sampling, Tool, ToolChoice, ToolMode
from services.inference.domain.engine import Delta, FinishReason, Usage
from services.inference.domain.errors import EngineUnavailable, InvalidRequest
from services.inference.engines.routed.engine import RoutedEngine
from tests.engine_steps import steps_of
from tests.integration.inference.upstream_client import HELLO, ask, run, said, serving
from tests.upstreams import SSE, Asked, Play, chunk, encoded, end, stream, text, usage

PROBABILITY = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.0}]}
PIECE = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":'}}
GOOD: list[Any] = [
    chunk({"role": "assistant", "content": ""}, usage=None),
    {"choices": [{"index": 0, "delta": {"content": "Hé"}, "logprobs": {"content": [PROBABILITY]}}]},
    chunk({"content": [{"type": "text", "text": "llo"}], "reasoning_content": "hm"}, timings={"predicted_n": 3}),
    chunk({"tool_calls": [PIECE]}, usage={"prompt_tokens": 7, "completion_tokens": 4}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
    chunk({"content": "x"}, index=1),
    end("tool_calls"),
    end("stop", 1),
    usage(7, 9),
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANYTHING = st.recursive(
    SCALARS | st.sampled_from(["", 10**40, 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
EXAMPLES = int(os.environ.get("MUHGPT_TEST_EXAMPLES", "150"))  # `make hostile` asks for more
MAX_SECONDS = 30
MAX_MEMORY = 32 * 1024 * 1024  # bytes
REQUESTS = [
    ask(),
    ask(choices=2),
    ask(choices=2, logprobs=True, stop=("l", "END")),
    ChatRequest("muh-chat", ask().messages, tools=(Tool("look"),)),
    ChatRequest("muh-chat", ask().messages, tools=(Tool("look"),), tool_choice=ToolChoice(ToolMode.REQUIRED)),
    ChatRequest("muh-chat", ask().messages, sampling=Sampling(choices=2, temperature=0.0)),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every part of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A good stream with events changed, left out, repeated or in another order, and perhaps bytes of it too."""
    events = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(0, 4))):
        path = draw(st.sampled_from(places(events)[1:]))
        holder: Any = events
        try:
            for key in path[:-1]:
                holder = holder[key]
            kind = draw(st.sampled_from(["remove", "replace", "repeat"]))
            if kind == "remove":
                del holder[path[-1]]
            elif kind == "replace":
                holder[path[-1]] = draw(ANYTHING)
            elif isinstance(holder, list):
                holder.insert(path[-1], copy.deepcopy(holder[path[-1]]))
        except (KeyError, IndexError, TypeError):  # an earlier change took it away
            continue
    data = bytearray(encoded(*events, done=draw(st.booleans())))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 40))] = draw(st.binary(max_size=12))
    return bytes(data)


async def answer_or_failure(engine: RoutedEngine, request: ChatRequest, most: int) -> None:
    """Runs a request that may fail, in bounded time; an answer of it is sound."""
    with contextlib.suppress(EngineUnavailable, InvalidRequest):
        async with asyncio.timeout(MAX_SECONDS):
            deltas, total = await run(engine, request, most)
        check_sound(request, deltas, total)


def check_sound(request: ChatRequest, deltas: list[Delta], total: Usage) -> None:
    """What reaches clients is of OpenAI's form."""
    for choice in range(request.sampling.choices):
        own = [delta for delta in deltas if delta.choice == choice]
        assert [delta.finish_reason for delta in own if delta.finish_reason is not None], "each choice ends"
        assert all(delta.finish_reason is None for delta in own[:-1]), "and nothing follows"
        calls = [call for delta in own for call in delta.tool_calls]
        begun = [call.index for call in calls if call.id]
        assert begun == list(range(len(begun)))
        assert all(call.name for call in calls if call.id)
        assert {call.index for call in calls} == set(begun)
        if own[-1].finish_reason is FinishReason.TOOL_CALLS:
            assert begun
            whole = ["".join(call.arguments for call in calls if call.index == index) for index in begun]
            assert all(whole)
    assert total.prompt_tokens >= 1
    assert 0 <= total.output_tokens <= 100 * request.sampling.choices
    assert sum(delta.tokens for delta in deltas) >= total.output_tokens
    for delta in deltas:
        assert delta.tokens >= 0
        convert.from_events([(1, delta)]).SerializeToString()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spoilt(), st.sampled_from([None, 1, 7, 100]), st.sampled_from(REQUESTS), st.sampled_from(["openai", "vllm"]))
async def test_a_spoilt_stream_is_a_sound_answer_or_a_failure(
    data: bytes, size: int | None, request: ChatRequest, server: str
) -> None:
    async with serving(stream(data, done=False, size=size), server=server) as (_, engine):
        await answer_or_failure(engine, request, 100)


def raw(head: str, *body: bytes, hold: bool = False) -> Play:
    """An answer byte for byte."""

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode("latin-1"))
        for piece in body:
            writer.write(piece)
            await writer.drain()
        if hold:
            await asyncio.Event().wait()

    return play


def endless(head: str, piece: bytes) -> Play:
    """The same bytes without end."""

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode("latin-1"))
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return play


OK = "HTTP/1.1 200 OK\r\n"
EVENTS = encoded(*HELLO)
PAD = "x" * 500  # fewer events until the bound in bytes is reached: each costs much while memory is traced
CHUNKED = OK + "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "play",
    [
        raw(""),
        raw("nonsense\r\n\r\n"),
        raw("HTTP/1.1 999 Odd\r\n\r\n"),
        raw("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"),
        raw("HTTP/1.1 204 No Content\r\n\r\n"),
        raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        raw(OK + "Content-Encoding: gzip\r\n\r\n", gzip.compress(EVENTS)),
        raw(OK + "Content-Length: 5\r\nContent-Length: 7\r\n\r\n", EVENTS),
        raw(OK + "Content-Length: -5\r\n\r\n", EVENTS),
        raw(OK + "Content-Length: 99999\r\n\r\n", EVENTS[:40]),
        raw(CHUNKED, b"zz\r\nnonsense"),
        raw(CHUNKED, b"ffffffffffffffff\r\n"),
        raw(OK + "X: " + "a" * 100_000 + "\r\n\r\n", EVENTS),
        raw(OK + "Content-Type: \x00\xff;;=\r\n\r\n", b"data: {}\n\n"),
        raw(OK + "Content-Type: text/html\r\n\r\n", b"<html>please log in</html>"),
        raw(OK + "Content-Type: application/json\r\n\r\n", b"{"),
        raw(OK + "Content-Type: application/json\r\n\r\n", b'{"choices": 7}'),
        raw(SSE, b"\x00" * 100_000),
        raw(SSE, b"data: " + b"[" * 500_000 + b"\n\n"),
        raw(SSE, b"data: " + b'{"a":' * 90_000 + b"\n\n"),
        raw(SSE, b"data: " + b"9" * 500_000 + b"\n\n"),
        endless(SSE, b": " + b"x" * 1000 + b"\n"),
        endless(SSE, b"x" * 4000),
        endless(SSE, b"data:\n" * 1000),
        endless(SSE, b"data: {}\n\n" * 100),
        endless(SSE, encoded(chunk({}), done=False) * 50),
        endless(SSE, encoded(chunk({"role": "assistant", "content": ""}, pad=PAD), usage(7, 0), done=False) * 50),
        endless(SSE, encoded(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "x" * 900}}]}), done=False)),
        endless(SSE, encoded(chunk({"tool_calls": [{"id": "c", "function": {"name": "f"}}]}), done=False)),
        endless(OK + "X: ", b"a" * 1000),
        endless(OK, b"X: a\r\n" * 100),
        endless(OK + "Content-Type: application/json\r\n\r\n", b" " * 4000),
        endless("HTTP/1.1 400 Bad\r\n\r\n", b"x" * 4000),
        endless("", b"HTTP/1.1 100 Continue\r\n\r\n"),
        endless(CHUNKED + "0\r\n", b"a:b\r\n" * 100),
    ],
)
async def test_no_answer_takes_long_or_much_memory_or_ends_another_stream(play: Play) -> None:
    open_gate = asyncio.Event()

    async def slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE.encode() + encoded(text("Hel"), done=False))
        await writer.drain()
        await open_gate.wait()
        writer.write(encoded(text("lo"), end(), usage(7, 2)))

    fields = {"first_token_timeout": 0.5, "token_timeout": 0.5}
    async with serving(slowly, **fields | {"token_timeout": 60.0}) as (server, engine):
        prompt = await engine.prepare(ask())
        async with aclosing(steps_of(prompt, 100)) as steps:
            shown = list(await anext(steps))
            async with serving(play, **fields) as (_, spoilt_engine):
                tracemalloc.start()
                try:
                    await answer_or_failure(spoilt_engine, ask(), 50)
                    assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
                finally:
                    tracemalloc.stop()
            open_gate.set()
            async for step in steps:
                if not isinstance(step, Usage):
                    shown += step
    assert said(shown) == "Hello"
    assert len(server.requests) == 1


async def test_an_answer_that_came_whole_is_one() -> None:
    message = {"role": "assistant", "content": "Hello", "tool_calls": None}
    answer = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    answer |= {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    play = raw(OK + "Content-Type: application/json; charset=utf-8\r\n\r\n", json.dumps(answer).encode())
    async with serving(play) as (_, engine):
        deltas, total = await run(engine)
    assert said(deltas) == "Hello"
    assert (total.prompt_tokens, total.output_tokens) == (7, 2)


async def test_an_answer_that_says_that_it_is_not_compressed_is_read() -> None:
    play = raw(OK + "Content-Type: text/event-stream\r\nContent-Encoding: identity\r\n\r\n", EVENTS)
    async with serving(play) as (_, engine):
        assert said((await run(engine))[0]) == "Hello"
