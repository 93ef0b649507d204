"""What is counted here against what a real vLLM counts: prompts before they are sent, and answers while they run."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from services.inference.domain.chat import (
    ChatRequest,
    Message,
    Role,
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from services.inference.domain.engine import Delta, Usage
from tests.engine_steps import steps_of
from tests.fakes_engine import start_upstream

URL, MODEL = os.environ["MUHGPT_VLLM_URL"], Path(os.environ["MUHGPT_VLLM_MODEL"])
LEARNT = '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'  # tiny_model.py
CITY = '{"type":"object","properties":{"city":{"type":"string","description":"Großstadt"}},"required":["city"]}'
WEATHER = Tool("get_weather", "The weather of a city", LEARNT)
BARE = Tool("look")


def said(role: Role, *texts: str, **fields: Any) -> Message:
    return Message(role, texts, **fields)


def user(*texts: str) -> Message:
    return said(Role.USER, *texts)


def calls(*arguments: str) -> Message:
    made = tuple(ToolCall(f"call_{number}", "look", text) for number, text in enumerate(arguments))
    return said(Role.ASSISTANT, tool_calls=made)


def result(number: int) -> Message:
    return said(Role.TOOL, "nothing there", tool_call_id=f"call_{number}")


CONVERSATIONS: dict[str, tuple[tuple[Message, ...], tuple[Tool, ...]]] = {
    "short": ((user("hi there"),), ()),
    "scripts": ((user("Привет, 世界! مرحبا नमस्ते 👨‍👩‍👧 naïve\t\r\n  x"),), ()),
    "control tokens": ((user("a<|im_end|>b<tool_call><|endoftext|>"),), ()),
    "parts": ((user("one", "two"),), ()),
    "turns": ((said(Role.SYSTEM, "Be short."), user("a"), said(Role.ASSISTANT, "b"), user("c")), ()),
    "tools": ((user("Weather in Paris?"),), (WEATHER,)),
    "a bare and a strict tool": ((user("x"),), (BARE, Tool("t", 'says "<é>"', CITY, strict=True))),
    "a system message beside tools": ((said(Role.SYSTEM, "Be short."), user("x")), (WEATHER, BARE)),
    "calls": ((user("x"), calls('{"at": "é", "n": [1, 2.5, null]}', "{}"), result(0), result(1)), (BARE,)),
    "calls without tools": ((user("x"), calls("{}"), result(0), user("and?")), ()),
    "broken calls": ((user("x"), calls('{"a":', "", "[1]", '{"a":1}{"b":2}'), result(0), user("y")), (BARE,)),
    "long": ((user("words and words " * 150),), ()),
}


def request(name: str, **sampling: Any) -> ChatRequest:
    messages, tools = CONVERSATIONS[name]
    return ChatRequest("tiny", messages, tools, sampling=Sampling(temperature=0.0, **sampling), account="ada")


async def answer(engine: Any, asked: ChatRequest, most: int) -> tuple[list[Delta], Usage]:
    deltas: list[Delta] = []
    async with aclosing(steps_of(await engine.prepare(asked), most)) as steps:
        async for step in steps:
            if isinstance(step, Usage):
                return deltas, step
            deltas += step
    raise AssertionError("no usage at the end")


def target(**fields: Any) -> Any:
    return start_upstream(URL, model="tiny", context_length=1024, **fields)


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_the_local_count_the_servers_count_and_its_usage_are_one(name: str) -> None:
    async with target(tokenizer=str(MODEL / "tokenizer.json")) as local, target(server="vllm") as asking:
        here = (await local.prepare(request(name))).prepared
        there = (await asking.prepare(request(name))).prepared
        _, usage = await answer(asking, request(name), 1)
    assert (here.prompt_tokens, there.prompt_tokens) == (usage.prompt_tokens, usage.prompt_tokens)
    assert (here.estimated, there.estimated, usage.estimated) == (False, False, False)


@pytest.mark.parametrize(
    "words", ["Hello!", "Who are you?", "Count to thirty", "Привет", "Think first", "Give me JSON"]
)
@pytest.mark.parametrize("server", ["vllm", "openai"])
async def test_a_running_answer_counts_what_it_ends_with(words: str, server: str) -> None:
    asked = ChatRequest("tiny", (user(words),), sampling=Sampling(temperature=0.0))
    async with target(server=server, tokenizer=str(MODEL / "tokenizer.json")) as engine:
        deltas, usage = await answer(engine, asked, 120)
    before_the_last = sum(delta.tokens for delta in deltas if delta.finish_reason is None)
    assert usage.output_tokens >= 3
    # The token that ends an answer is in vLLM's usage and has no text.
    assert usage.output_tokens - 1 <= before_the_last <= usage.output_tokens
    assert sum(delta.tokens for delta in deltas) == usage.output_tokens


@pytest.mark.parametrize("words", ["Weather in Paris?", "Paris and Rome?", "Tell and call"])
async def test_tool_calls_count_by_the_servers_running_count(words: str) -> None:
    asked = ChatRequest("tiny", (user(words),), (WEATHER,), sampling=Sampling(temperature=0.0))
    async with target(server="vllm") as engine:
        deltas, usage = await answer(engine, asked, 200)
    assert any(call.name == "get_weather" for delta in deltas for call in delta.tool_calls)
    assert sum(delta.tokens for delta in deltas) == usage.output_tokens
    assert not usage.estimated


@pytest.mark.parametrize("choice", [ToolChoice(ToolMode.REQUIRED), ToolChoice(ToolMode.FUNCTION, "get_weather")])
async def test_tools_that_must_be_called_count_as_they_are_sent(choice: ToolChoice) -> None:
    asked = ChatRequest("tiny", (user("x"),), (WEATHER, BARE), choice, sampling=Sampling(temperature=0.0))
    fields: dict[str, Any] = {"server": "vllm", "tokenizer": str(MODEL / "tokenizer.json")}
    async with target(**fields) as local, target(server="vllm") as asking:
        here, there = await local.prepare(asked), await asking.prepare(asked)
    assert here.prepared.prompt_tokens == there.prepared.prompt_tokens


async def test_tools_that_may_not_be_called_take_no_tokens() -> None:
    messages = (user("hi there"),)
    none = ChatRequest("tiny", messages, (WEATHER,), ToolChoice(ToolMode.NONE), sampling=Sampling(temperature=0.0))
    fields: dict[str, Any] = {"server": "vllm", "tokenizer": str(MODEL / "tokenizer.json")}
    async with target(**fields) as local, target(server="vllm") as asking:
        plain = (await local.prepare(request("short"))).prepared.prompt_tokens
        assert (await local.prepare(none)).prepared.prompt_tokens == plain
        _, usage = await answer(asking, none, 1)
    assert usage.prompt_tokens == plain


async def test_several_choices_count_together() -> None:
    asked = ChatRequest("tiny", (user("Hello!"),), sampling=Sampling(choices=2, temperature=1.0, seed=1))
    async with target(server="vllm") as engine:
        deltas, usage = await answer(engine, asked, 40)
    assert {delta.choice for delta in deltas} == {0, 1}
    assert sum(delta.tokens for delta in deltas) >= usage.output_tokens >= 2
