"""Hostile schemas on the real engine: each is refused or answered, and a request beside it is served all the while."""

from __future__ import annotations

import asyncio
import json
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
from services.inference.domain.engine import Usage
from services.inference.domain.errors import ContextTooLong, InvalidRequest
from services.inference.engines.llama.engine import LlamaEngine
from tests.engine_steps import steps_of
from tests.fakes_engine import start_llama
from tests.hostile_schemas import DEPTH, HOSTILE_SCHEMAS, NUMBERS, PATTERNS, REFERENCES, SIZE, TEXTS

ENOUGH = 20.0  # seconds for any of them on a busy machine; a stalled worker takes minutes
FAMILIES = {
    "size": SIZE,
    "depth": DEPTH,
    "reference": REFERENCES,
    "number": NUMBERS,
    "text": TEXTS,
    "pattern": PATTERNS,
}
HELLO = (Message(Role.USER, ("Hello!",)),)


@pytest.fixture
async def engine() -> AsyncIterator[LlamaEngine]:
    async with start_llama(abilities=frozenset({"tools", "json"})) as llama:
        yield llama


async def answered(engine: LlamaEngine, max_tokens: int = 20, **fields: Any) -> bool:
    """Whether the request was answered, and not refused."""
    try:
        prompt = await engine.prepare(ChatRequest("muh-chat", HELLO, sampling=Sampling(temperature=2), **fields))
        steps = [step async for step in steps_of(prompt, max_tokens)]
    except (InvalidRequest, ContextTooLong):
        return False
    assert isinstance(steps[-1], Usage)
    return True


def demands(schema: Any) -> list[dict[str, Any]]:
    """A schema for the answer, and for a call that must be made; held as far as it can be, and strictly."""
    text = json.dumps(schema)
    return [
        {"response_format": ResponseFormat(FormatKind.JSON_SCHEMA, "answer", text)},
        {"tools": (Tool("f", "", text),), "tool_choice": ToolChoice(ToolMode.REQUIRED)},
        {"response_format": ResponseFormat(FormatKind.JSON_SCHEMA, "answer", text, strict=True)},
    ]


async def test_each_is_refused_or_answered_and_the_worker_lives(engine: LlamaEngine) -> None:
    outcomes = {True: 0, False: 0}
    for name, schema in HOSTILE_SCHEMAS.items():
        for demand in demands(schema):
            try:
                async with asyncio.timeout(ENOUGH):
                    outcomes[await answered(engine, **demand)] += 1
            except TimeoutError:
                pytest.fail(f"{name} took more than {ENOUGH} s")
            assert engine.ready, name
    assert min(outcomes.values()) > 20, outcomes


@pytest.mark.parametrize("kind", FAMILIES)
async def test_none_stalls_a_request_beside_it(engine: LlamaEngine, kind: str) -> None:
    family = {
        "size": SIZE,
        "depth": DEPTH,
        "reference": REFERENCES,
        "number": NUMBERS,
        "text": TEXTS,
        "pattern": PATTERNS,
    }[kind]
    loop = asyncio.get_running_loop()
    for name, schema in family.items():
        hostile = asyncio.create_task(answered(engine, 60, **demands(schema)[0]))
        while not hostile.done():
            began = loop.time()
            try:
                async with asyncio.timeout(ENOUGH):
                    assert await answered(engine, 4)
            except TimeoutError:
                hostile.cancel()
                pytest.fail(f"a request beside {name} waited {loop.time() - began:.1f} s")
        await hostile
