"""Which counts of an upstream are charged: each where it is plausible, and ours otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.inference.domain.chat import ChatRequest, Message, Picture, Role
from services.inference.domain.engine import Usage
from tests.integration.inference.upstream_client import ask, run, serving
from tests.upstreams import Asked, Play, chunk, end, status, stream, text, usage

PROMPT = "hello " * 193  # 200 tokens as OpenAI frames it: 193 words, a role and 6 around, but for the space at the end


def disbelieved(count: str) -> float:
    labels = {"model": "muh-chat", "target": "upstream", "count": count}
    return REGISTRY.get_sample_value("muhgpt_inference_usage_disbelieved_total", labels) or 0.0


@pytest.mark.parametrize("reported", [68, 69, 433, 434, 0, 1_000_000])
async def test_a_prompt_is_believed_from_half_to_twice_ours_32_more_or_less(reported: int) -> None:
    before = disbelieved("prompt")
    async with serving(stream(text("one two"), end(), usage(reported, 2))) as (_, engine):
        ours = (await engine.prepare(ask(PROMPT))).prepared.prompt_tokens
        _, total = await run(engine, ask(PROMPT))
    assert ours == 201
    believed = 68.5 <= reported <= 434
    assert total == Usage(reported if believed else ours, 2, estimated=not believed)
    assert disbelieved("prompt") - before == (reported > 0 and not believed)


@pytest.mark.parametrize("reported", [0, 1, 20, 21, 10**9])
async def test_an_output_is_believed_from_1_to_what_was_asked_for_of_all_choices(reported: int) -> None:
    before = disbelieved("output")
    answer = [text("one two"), text("three", 1), end(), end("stop", 1), usage(9, reported)]
    async with serving(stream(*answer)) as (_, engine):
        deltas, total = await run(engine, ask("hi there", choices=2), most=10)
    believed = 1 <= reported <= 20
    assert (total.output_tokens, total.estimated) == (reported if believed else 3, not believed)
    assert sum(delta.tokens for delta in deltas) == max(3, total.output_tokens)
    assert disbelieved("output") - before == (reported > 0 and not believed)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ([], Usage(9, 2, estimated=True)),
        ([{"choices": [], "usage": None}], Usage(9, 2, estimated=True)),
        ([{"choices": [], "usage": {"prompt_tokens": None, "completion_tokens": None}}], Usage(9, 2, estimated=True)),
        ([{"choices": [], "usage": {"prompt_tokens": 12}}], Usage(12, 2, estimated=True)),
        ([{"choices": [], "usage": {"completion_tokens": 5}}], Usage(9, 5, estimated=True)),
        ([{"choices": [], "usage": {"prompt_tokens": -3, "completion_tokens": 2.5}}], Usage(9, 2, estimated=True)),
        ([{"choices": [], "usage": {"prompt_tokens": True, "completion_tokens": "x"}}], Usage(9, 2, estimated=True)),
    ],
    ids=["none", "null", "null fields", "prompt only", "output only", "no counts", "other types"],
)
async def test_a_usage_that_says_nothing_leaves_a_good_answer_and_our_counts(last: list[Any], expected: Usage) -> None:
    async with serving(stream(text("one two"), end(), *last)) as (_, engine):
        _, total = await run(engine, ask("hi there"))
    assert (total.prompt_tokens, total.output_tokens) == (expected.prompt_tokens, expected.output_tokens)
    assert total.estimated == expected.estimated


@pytest.mark.parametrize("tokenizer", ["o200k_base", "cl100k_base"])
async def test_counts_by_the_targets_own_tokenizer_are_no_estimates(tokenizer: str) -> None:
    async with serving(stream(text("one two"), end()), tokenizer=tokenizer) as (_, engine):
        prompt = await engine.prepare(ask("hi there"))
        assert (prompt.prepared.prompt_tokens, prompt.prepared.estimated) == (9, False)
        _, total = await run(engine, ask("hi there"))
    assert total == Usage(9, 2, estimated=False)


async def test_an_image_may_take_next_to_nothing_and_not_more_than_twice_what_was_thought() -> None:
    message = Message(Role.USER, ("hi there", Picture(b"jpeg", 1024, 1024)))
    request = ChatRequest("muh-chat", (message,))
    for reported, believed in ((12, True), (1580, True), (1581, False)):
        answer = stream(text("one two"), end(), usage(reported, 2))
        async with serving(answer, abilities=frozenset({"vision"})) as (_, engine):
            _, total = await run(engine, request)
        assert total.prompt_tokens == (reported if believed else 9 + 765)


async def test_reasoning_and_the_parts_of_calls_count_while_they_come() -> None:
    function = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"at":'}}
    answer = [
        chunk({"reasoning_content": "one two three"}),
        text("four five"),
        chunk({"tool_calls": [function]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        end("tool_calls"),
    ]
    async with serving(stream(*answer), tokenizer="o200k_base") as (_, engine):
        deltas, total = await run(engine)
    calls = len(["look", '{"', "at", '":', "1", "}"])
    assert total.output_tokens == sum(delta.tokens for delta in deltas) == 3 + 2 + calls


async def test_a_whole_answer_in_one_event_counts_as_in_many() -> None:
    words = "word " * 20_000
    async with serving(stream(text(words), end()), context_length=100_000) as (_, engine):
        _, total = await run(engine, most=30_000)
    assert total.output_tokens == 20_001


@pytest.mark.parametrize("server", ["vllm", "llama.cpp", "sglang"])
async def test_a_server_that_leaves_out_the_running_counts_it_should_bring_makes_estimates(server: str) -> None:
    """What a client pays that leaves is counted here then, and its receipt says so."""
    counts = {"vllm": {"count": 7}, "llama.cpp": {"input_tokens": 7}, "sglang": {}}[server]
    told = {"usage": {"prompt_tokens": 7, "completion_tokens": 1}, "timings": {"predicted_n": 1}}

    def playing(*chunks: Any) -> Play:
        async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
            whole = asked.path.endswith("/chat/completions")
            await (stream(*chunks, end(), usage(7, 1)) if whole else status(200, counts))(asked, writer)

        return play

    prompt_guessed = server == "sglang"
    async with serving(playing(text("Hello")), server=server) as (upstream, engine):
        assert (await engine.prepare(ask())).prepared.estimated is prompt_guessed
        await run(engine)
        assert (await engine.prepare(ask())).prepared.estimated
        upstream.play(playing(text("Hello", **told)))
        await run(engine)
        assert (await engine.prepare(ask())).prepared.estimated is prompt_guessed
