"""What a real vLLM is asked for and gives: forced calls that fit, several choices, schemas, its context."""

from __future__ import annotations

import json
import os
from contextlib import aclosing
from typing import Any

import jsonschema
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
from services.inference.domain.engine import Delta, FinishReason, Usage
from services.inference.domain.errors import ContextTooLong, InvalidRequest
from tests.engine_steps import steps_of
from tests.fakes_engine import start_upstream

URL = os.environ["MUHGPT_VLLM_URL"]
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"enum": ["x", "y"]}},
    "required": ["n", "b"],
    "additionalProperties": False,
}
LOOK, WAIT = Tool("look", parameters=json.dumps(SCHEMA)), Tool("wait")


def asked(said: str = "Hello!", *, sampling: Sampling | None = None, **fields: Any) -> ChatRequest:
    return ChatRequest("tiny", (Message(Role.USER, (said,)),), sampling=sampling or Sampling(seed=3), **fields)


def target(**fields: Any) -> Any:
    """The list says more context than the server has."""
    return start_upstream(URL, **{"model": "tiny", "server": "vllm", "context_length": 4096, **fields})


async def run(
    engine: Any, request: ChatRequest, most: int = 300, *, implied: bool = False
) -> tuple[list[Delta], Usage]:
    deltas: list[Delta] = []
    async with aclosing(steps_of(await engine.prepare(request), most, implied=implied)) as steps:
        async for step in steps:
            if isinstance(step, Usage):
                return deltas, step
            deltas += step
    raise AssertionError("no usage at the end")


def said(deltas: list[Delta], choice: int = 0) -> str:
    return "".join(delta.text for delta in deltas if delta.choice == choice)


@pytest.mark.parametrize("choice", [ToolChoice(ToolMode.REQUIRED), ToolChoice(ToolMode.FUNCTION, "look")])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("server", ["vllm", "openai"])
async def test_a_forced_call_fits_its_schema(choice: ToolChoice, seed: int, server: str) -> None:
    request = asked(tools=(LOOK, WAIT), tool_choice=choice, sampling=Sampling(seed=seed, temperature=0.8))
    async with target(server=server) as engine:
        deltas, usage = await run(engine, request, 700)
    calls = [call for delta in deltas for call in delta.tool_calls]
    assert calls
    if deltas[-1].finish_reason is FinishReason.LENGTH:  # white space without end, which vLLM's grammar allows
        return
    assert deltas[-1].finish_reason is FinishReason.TOOL_CALLS
    for call in calls:
        arguments = json.loads(call.arguments)
        jsonschema.validate(arguments, SCHEMA if call.name == "look" else {"type": "object", "maxProperties": 0})
    assert sum(delta.tokens for delta in deltas) >= usage.output_tokens > 0


async def test_tools_that_must_not_be_called_are_not_seen_by_the_model() -> None:
    greedy = Sampling(temperature=0.0)
    async with target() as engine:
        plain, _ = await run(engine, asked(sampling=greedy))
        none = asked(tools=(LOOK,), tool_choice=ToolChoice(ToolMode.NONE), sampling=greedy)
        assert said((await run(engine, none))[0]) == said(plain)


@pytest.mark.parametrize("server", ["vllm", "openai"])
async def test_several_greedy_choices_are_one_repeated(server: str) -> None:
    async with target(server=server) as engine:
        deltas, usage = await run(engine, asked(sampling=Sampling(choices=3, temperature=0.0)), 40)
        _, single = await run(engine, asked(sampling=Sampling(temperature=0.0)), 40)
    assert said(deltas) == said(deltas, 1) == said(deltas, 2) != ""
    assert usage.output_tokens == single.output_tokens


async def test_log_probabilities_come_for_every_token() -> None:
    async with target() as engine:
        deltas, usage = await run(engine, asked(sampling=Sampling(logprobs=True, top_logprobs=2, seed=1)), 20)
    told = [item for delta in deltas for item in delta.logprobs]
    assert len(told) == usage.output_tokens


@pytest.mark.parametrize("word", ["not", "uniqueItems", "dependentRequired"])
async def test_a_keyword_that_it_cannot_hold_is_a_400_with_strict_and_no_failure_without(word: str) -> None:
    part = {"not": {"const": 1}, "uniqueItems": True, "dependentRequired": {"a": ["b"]}}[word]
    schema = json.dumps({"type": "object", "properties": {"a": {word: part}}})
    async with target() as engine:
        with pytest.raises(InvalidRequest, match=word):
            await run(engine, asked(response_format=ResponseFormat(FormatKind.JSON_SCHEMA, "x", schema, strict=True)))
        await run(engine, asked(response_format=ResponseFormat(FormatKind.JSON_SCHEMA, "x", schema)), 30)


@pytest.mark.parametrize("server", ["vllm", "openai"])
async def test_its_own_context_is_what_counts(server: str) -> None:
    async with target(server=server) as engine:
        await run(engine, asked(), 3000)
        await run(engine, asked(), 3000, implied=True)
        assert engine.context_length == 1024
        with pytest.raises(ContextTooLong, match="1024 tokens"):
            await run(engine, asked("word " * 3000))


async def test_what_it_refuses_is_said_in_its_words() -> None:
    async with target() as engine:
        with pytest.raises(InvalidRequest, match="reasoning_effort"):
            await run(engine, asked(hints={"reasoning_effort": "weird"}))
        with pytest.raises(InvalidRequest, match="logit_bias"):
            await run(engine, asked(sampling=Sampling(logit_bias={999_999: 1.0})))
        await run(engine, asked(hints={"reasoning_effort": "low", "user": "u"}), 10)
