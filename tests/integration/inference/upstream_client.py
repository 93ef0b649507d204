"""What the tests of the upstream engine share: a server, an engine that is led to it, and one request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from services.inference.domain.chat import (
    ChatRequest,
    Message,
    Role,
    Sampling,
)
from services.inference.domain.engine import Delta, Usage, Withheld
from services.inference.engines.routed.engine import RoutedEngine
from tests.engine_steps import steps_of
from tests.fakes_engine import start_upstream
from tests.upstreams import (
    Play,
    Upstream,
    chunk,
    end,
    text,
    upstream,
    usage,
)

HELLO = [chunk({"role": "assistant", "content": ""}), text("Hel"), text("lo"), end(), usage(7, 2)]


def ask(said: str = "Hello!", **sampling: Any) -> ChatRequest:
    return ChatRequest("muh-chat", (Message(Role.USER, (said,)),), sampling=Sampling(**sampling))


@asynccontextmanager
async def serving(
    play: Play, key: str = "sk-canary", *, models: Any = None, **fields: Any
) -> AsyncIterator[tuple[Upstream, RoutedEngine]]:
    async with upstream(play, models) as server, start_upstream(server.url, key, **fields) as engine:
        yield server, engine


async def run(
    engine: RoutedEngine, request: ChatRequest | None = None, most: int = 100, *, implied: bool = False
) -> tuple[list[Delta], Usage]:
    deltas: list[Delta] = []
    prompt = await engine.prepare(request or ask())
    async with asyncio.timeout(20), aclosing(steps_of(prompt, most, implied=implied)) as steps:
        async for step in steps:
            if isinstance(step, Usage):
                return deltas, step
            if not isinstance(step, Withheld):
                deltas += step
    raise AssertionError("no usage at the end")


def said(deltas: list[Delta], choice: int = 0) -> str:
    return "".join(delta.text for delta in deltas if delta.choice == choice)


def counted(deltas: list[Delta]) -> int:
    return sum(delta.tokens for delta in deltas)
