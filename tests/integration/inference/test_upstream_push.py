"""The upstream engine pushes: in order whatever comes together, held back by a full sink, without a task per event."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from services.inference.domain.engine import Delta, Usage, Withheld
from services.inference.domain.errors import EngineUnavailable
from services.inference.engines.upstream.answer import MAX_AT_ONCE
from tests.engine_steps import steps_of
from tests.integration.inference.upstream_client import ask, run, said, serving
from tests.upstreams import SSE, Asked, encoded, end, stream, text, usage

MANY = 20_000  # events, far more than sockets hold


class Writing:
    """An upstream that writes as fast as it is read, and counts what it has written."""

    def __init__(self, events: int, size: int) -> None:
        self.written = 0
        self._events = events
        self._text = "x" * size + " "

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE.encode())
        event = encoded(text(self._text), done=False)
        for _ in range(self._events):
            writer.write(event)
            await writer.drain()
            self.written += 1
        writer.write(encoded(end(), usage(7, self._events)))

    async def still(self) -> int:
        """How much was written when no more is."""
        before = -1
        while before != self.written:
            before = self.written
            await asyncio.sleep(0.2)
        return before


async def test_a_full_sink_holds_the_upstream_back_and_nothing_is_lost() -> None:
    writing = Writing(MANY, 500)
    async with serving(writing, token_timeout=0.3, context_length=100_000) as (_, engine):
        prompt = await engine.prepare(ask())
        async with aclosing(steps_of(prompt, 50_000, limit=8)) as steps:
            first = await anext(steps)
            assert not isinstance(first, Usage | Withheld)
            assert await writing.still() < MANY
            # What the sink does not take in time is not the upstream's fault.
            deltas: list[Delta] = list(first)
            async for step in steps:
                if isinstance(step, Usage):
                    assert step.output_tokens == MANY
                elif not isinstance(step, Withheld):
                    deltas += step
    assert len(said(deltas)) == MANY * 501


@pytest.mark.parametrize("large", [100, MAX_AT_ONCE, 10 * MAX_AT_ONCE], ids=["short", "at the bound", "long"])
async def test_what_comes_together_keeps_its_order(large: int) -> None:
    pieces = [f" {number}" for number in range(400)]
    pieces[150] = pieces[300] = " " + "y" * large
    async with serving(stream(*map(text, pieces), end(), usage(7, 90_000)), context_length=100_000) as (_, engine):
        deltas, total = await run(engine, most=90_000)
    assert said(deltas) == "".join(pieces)
    assert sum(delta.tokens for delta in deltas) == total.output_tokens


async def test_an_error_behind_a_large_event_is_raised_after_it() -> None:
    failing = stream(text("y" * 2 * MAX_AT_ONCE), *[text(" z")] * 200, {"error": {"message": "odd", "code": 500}})
    async with serving(failing, context_length=100_000) as (_, engine):
        with pytest.raises(EngineUnavailable, match="answered 500"):
            await run(engine, most=90_000)


async def tasks_for(events: int) -> int:
    """How many tasks one answer of so many events makes, each event in a write of its own."""
    made = 0

    def count(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **fields: Any) -> asyncio.Task[Any]:
        nonlocal made
        made += 1
        return asyncio.Task(work, loop=loop, **fields)

    play = stream(*[text(" word")] * events, end(), usage(7, events), size=60)
    async with serving(play) as (_, engine):
        loop = asyncio.get_running_loop()
        loop.set_task_factory(count)
        try:
            await run(engine, most=1000)
        finally:
            loop.set_task_factory(None)
    return made


async def test_no_task_is_made_for_an_event() -> None:
    assert await tasks_for(400) == await tasks_for(10)
