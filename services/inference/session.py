"""One edge worker's stream: commands in, events of many generations out, each generation isolated from the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

from muhgpt.inference.v1 import inference_pb2 as pb
from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from servicekit.timer_wheel import TimerWheel
from services.inference import convert
from services.inference.domain.engine import Failed
from services.inference.domain.errors import HelloExpected, InvalidRequest, Overloaded
from services.inference.domain.generation import Order, PreparedRequest
from services.inference.domain.outbox import Outbox
from services.inference.domain.preparation import Handles, Preparer
from services.inference.domain.registry import Registry
from services.inference.generation_task import GenerationTask, Go

log = get_logger(__name__)

HELLO_TIMEOUT = 10.0  # seconds
LOAD_INTERVAL = 0.1  # seconds; the proto promises at most ten a second
DEFAULT_DEADLINE = 600.0  # seconds (docs/wire.md)
MAX_GENERATIONS = 4096  # of one session, prepared ones included; the default of the setting
MAX_NAME = 100  # characters of an edge's name in the log
Requests: TypeAlias = AsyncIterator[pb.SessionRequest]
Context: TypeAlias = Any  # grpc.aio.ServicerContext; grpc ships no types


class EdgeSession:
    """Runs one Session call until its edge leaves, or until the replica drains and all generations have ended."""

    def __init__(
        self,
        preparer: Preparer,
        handles: Handles,
        registry: Registry,
        clock: Clock,
        timers: TimerWheel,
        draining: asyncio.Event,
        max_generations: int = MAX_GENERATIONS,
    ) -> None:
        self._preparer = preparer
        self._handles = handles
        self._registry = registry
        self._load = registry.load
        self._clock = clock
        self._timers = timers
        self._draining = draining
        self._max_generations = max_generations
        self._outbox = Outbox()
        self._generations: dict[int, GenerationTask] = {}
        self._session_id = b""
        self._left = False  # the edge has ended its side

    async def run(self, requests: Requests, context: Context) -> None:
        """Serves the stream. Raises HelloExpected."""
        hello = await self._hello(requests)
        self._session_id = hello.session_id
        log.info("session_opened", edge=hello.edge_name[:MAX_NAME])
        await context.write(pb.SessionResponse(welcome=pb.SessionWelcome(load=convert.from_load(self._load.read()))))
        helpers = [
            asyncio.create_task(work)
            for work in (self._read(requests), self._watch_load(), self._watch_models(), self._watch_drain())
        ]
        try:
            await self._write(context)
        finally:
            await self._close(helpers)
            log.info("session_closed", edge=hello.edge_name[:MAX_NAME])

    async def _hello(self, requests: Requests) -> pb.SessionHello:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                first = await anext(requests)
        except StopAsyncIteration:
            raise HelloExpected("the stream ended before its hello") from None
        except TimeoutError:
            raise HelloExpected(f"no hello within {HELLO_TIMEOUT:.0f} s") from None
        if first.WhichOneof("message") != "hello" or len(first.hello.session_id) != 16:
            raise HelloExpected("the first message must be hello with a session_id of 16 bytes")
        return first.hello

    async def _read(self, requests: Requests) -> None:
        try:
            async for request in requests:
                for command in request.commands.commands:
                    self._obey(command)
        finally:
            self._left = True
            self._outbox.wake()

    def _obey(self, command: pb.Command) -> None:
        kind = command.WhichOneof("command")
        if kind == "prepare":
            self._prepare(command.generation_id, command.prepare)
            return
        generation = self._generations.get(command.generation_id)
        if generation is None:  # it has ended, and the edge will read so
            return
        if kind == "go":
            go = command.go
            generation.go(Go(max(1, go.max_tokens), go.max_tokens_implied, go.traceparent))
        elif kind == "cancel":
            generation.cancel()
        elif kind == "drop":
            generation.drop()

    def _prepare(self, generation_id: int, message: pb.Prepare) -> None:
        lane = self._outbox.lane(generation_id)
        if known := self._generations.get(generation_id):
            known.close()
            lane.put(Failed(InvalidRequest(f"generation {generation_id} was prepared twice in one session")))
            return
        if len(self._generations) >= self._max_generations:
            problem = f"this session has {self._max_generations} generations already"
            lane.put(Failed(Overloaded(problem, retry_after=1.0)))
            return
        deadline = message.deadline.ToMicroseconds() / 1e6 if message.HasField("deadline") else DEFAULT_DEADLINE
        order = Order(message.request_id, message.account_id, deadline, self._preparation(message), message.traceparent)
        generation = GenerationTask(order, lane, self._clock, self._timers)
        self._generations[generation_id] = generation
        generation.task.add_done_callback(lambda _: self._forget(generation_id, generation))

    def _preparation(self, message: pb.Prepare) -> Callable[[], Awaitable[PreparedRequest]]:
        """Converting happens inside the generation's task, so that a message which cannot be converted fails alone."""

        async def prepare() -> PreparedRequest:
            if message.handle:
                return self._handles.take(self._session_id, message.handle)
            self._handles.expire()
            return await self._preparer.prepare(convert.to_request(message.request), message.account_id)

        return prepare

    def _forget(self, generation_id: int, generation: GenerationTask) -> None:
        if self._generations.get(generation_id) is generation:
            del self._generations[generation_id]
        self._outbox.wake()  # a draining session ends with its last generation

    async def _write(self, context: Context) -> None:
        told_draining = False
        while not (self._left or (told_draining and not self._generations)):
            await self._outbox.filled()
            if self._draining.is_set() and not told_draining:
                told_draining = True
                await context.write(pb.SessionResponse(draining=pb.SessionDraining()))
            if self._outbox.load is not None:
                load, self._outbox.load = self._outbox.load, None
                await context.write(pb.SessionResponse(load=convert.from_load(load)))
            if self._outbox.models_changed:
                self._outbox.models_changed = False
                await context.write(pb.SessionResponse(models_changed=pb.SessionModelsChanged()))
            while batch := self._outbox.take():
                await context.write(convert.from_events(batch))

    async def _watch_load(self) -> None:
        with self._load.watch() as changed:
            while True:
                await changed.wait()
                changed.clear()
                self._outbox.load = self._load.read()
                self._outbox.wake()
                await asyncio.sleep(LOAD_INTERVAL)

    async def _watch_models(self) -> None:
        with self._registry.watch() as changed:
            while True:
                await changed.wait()
                changed.clear()
                self._outbox.models_changed = True
                self._outbox.wake()

    async def _watch_drain(self) -> None:
        await self._draining.wait()
        self._outbox.wake()

    async def _close(self, helpers: list[asyncio.Task[None]]) -> None:
        for helper in helpers:
            helper.cancel()
        tasks = [generation.task for generation in self._generations.values()]
        for generation in list(self._generations.values()):
            generation.close()
        for outcome in await asyncio.gather(*helpers, *tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("session_task_failed", exc_info=outcome)
