"""An engine's answer, which it pushes, as steps that a test takes one after the other; and the other way round.

async with aclosing(steps_of(prompt, 100)) as steps:   # closing it stops the engine
    async for step in steps: …                          # Sequence[Delta] | Withheld, at last one Usage
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from services.inference.domain.engine import Delta, Prompt, Sink, Source, Usage, Withheld
from services.inference.domain.errors import EngineUnavailable

Step = Sequence[Delta] | Withheld | Usage


class Queued:
    """A sink that keeps what comes until it is taken. With `limit` it is full when so much waits."""

    def __init__(self, limit: int | None = None) -> None:
        self.steps: asyncio.Queue[Step | None] = asyncio.Queue()
        self.sources: list[Source] = []
        self._limit = limit

    def on_deltas(self, deltas: Sequence[Delta]) -> None:
        self.put(deltas)

    def on_withheld(self, output_tokens: int) -> None:
        self.put(Withheld(output_tokens))

    def attach(self, source: Source) -> None:
        self.sources.append(source)

    def detach(self, source: Source) -> None:
        self.sources.remove(source)

    def put(self, step: Step | None) -> None:
        self.steps.put_nowait(step)
        if self._limit is not None and self.steps.qsize() == self._limit:
            for source in self.sources:
                source.pause()

    async def take(self) -> Step | None:
        step = await self.steps.get()
        if self._limit is not None and self.steps.qsize() == self._limit - 1:
            for source in self.sources:
                source.resume()
        return step


async def steps_of(
    prompt: Prompt, max_tokens: int, *, implied: bool = False, limit: int | None = None
) -> AsyncGenerator[Step]:
    """The steps of an answer. Raises what generating it raises, after what came before."""
    sink = Queued(limit)
    task = asyncio.create_task(prompt.generate(max_tokens, sink, implied=implied))
    task.add_done_callback(lambda _: sink.put(None))
    try:
        while (step := await sink.take()) is not None:
            yield step
        yield await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Gate:
    """A Source for what reads in a loop of its own: it waits here before it reads on."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def pause(self) -> None:
        """See Source."""
        self._open.clear()

    def resume(self) -> None:
        """See Source."""
        self._open.set()

    async def passed(self) -> None:
        """Waits while it is paused."""
        if not self._open.is_set():
            await self._open.wait()


async def push(steps: AsyncGenerator[Sequence[Delta] | Usage], sink: Sink) -> Usage:
    """Pushes the steps of an engine that yields them."""
    gate = Gate()
    sink.attach(gate)
    try:
        async with aclosing(steps):
            async for step in steps:
                if isinstance(step, Usage):
                    return step
                sink.on_deltas(step)
                await gate.passed()
    finally:
        sink.detach(gate)
    raise EngineUnavailable("the engine's answer ended without its token counts")
