"""The edge's pipeline between three real gRPC servers, each behind a wire that a test can cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from muhgpt.auth.v1 import auth_pb2, auth_pb2_grpc
from muhgpt.inference.v1 import inference_pb2
from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.clock import Clock, SystemClock
from servicekit.rpc.access import Tokens
from servicekit.rpc.server import Server
from services.edge.peers.streaming.replicas import Replicas
from services.edge.peers.streaming.resolver import Resolver, SystemResolver
from services.edge.peers.streaming.state import StreamState
from services.edge.peers.timings import DEFAULT_TIMINGS, Timings
from services.edge.process.connect import Dial
from services.edge.serving.answer import Answer, Batch, Delta
from services.edge.serving.gateway import Caller
from services.edge.serving.order import AnswerOrder
from services.edge.serving.pipeline import Peers, Pipeline
from services.edge.serving.preparations import Preparations
from tests.fakes_engine import EDGE_TOKEN, OPERATOR_TOKEN, RunningInference, ScriptedEngine, start_inference
from tests.worlds.in_process.scripted_auth import ScriptedAuth
from tests.worlds.in_process.scripted_quota import ScriptedQuota
from tests.worlds.in_process.wire import Wire

RESOLVE_INTERVAL = 0.05  # seconds
PATIENCE = 20.0  # seconds for what should happen at once, on a busy machine


@dataclass
class ScriptedPlatform:
    """What a test holds in its hands."""

    pipeline: Pipeline
    auth: ScriptedAuth
    quota: ScriptedQuota
    engine: ScriptedEngine
    wires: dict[str, Wire]
    clock: Clock
    key: str
    inference: RunningInference
    text: str = "hello there"

    async def caller(self, key: str | None = None) -> Caller:
        """Authenticates as HTTP does."""
        return await self.pipeline.authenticate(f"Bearer {key or self.key}")

    async def open(self, key: str | None = None, **options: Any) -> Answer:
        """The whole way to a running answer; `seconds` is its deadline from now, `request` instead of `text`, `caller`
        one that was authenticated before."""
        caller = options.get("caller") or await self.caller(key)
        model = self.pipeline.resolve(caller, "muh-chat")
        choices = options.get("choices", 1)
        order = AnswerOrder(
            request=options.get("request") or chat_request(model.model, options.get("text", self.text), choices),
            alias="muh-chat",
            max_tokens=options.get("max_tokens"),
            choices=choices,
            streamed=options.get("streamed", True),
            request_id="req_test",
            deadline=self.clock.monotonic() + options.get("seconds", 30.0),
        )
        return await self.pipeline.open(caller, order)


def chat_request(model: str, text: str, choices: int = 1) -> inference_pb2.ChatRequest:
    """One user message."""
    content = [inference_pb2.ContentPart(text=text)]
    message = inference_pb2.Message(role=inference_pb2.Message.ROLE_USER, content=content)
    return inference_pb2.ChatRequest(model=model, messages=[message], sampling=inference_pb2.Sampling(choices=choices))


@contextlib.asynccontextmanager
async def start_platform(
    *words: str,
    auth: ScriptedAuth | None = None,
    quota: ScriptedQuota | None = None,
    engine: ScriptedEngine | None = None,
    clock: Clock | None = None,
    second: str = "",
    preparations: Preparations | None = None,
    max_unfinished_holds: int = 10_000,
    max_generations: int = 4096,
    timings: Timings = DEFAULT_TIMINGS,
) -> AsyncIterator[ScriptedPlatform]:
    """Everything up and greeted. The service named `second` has two addresses of one server; the wire is "second"."""
    auth, quota, clock = auth or ScriptedAuth(), quota or ScriptedQuota(), clock or SystemClock()
    engine = engine or ScriptedEngine(*words)
    async with contextlib.AsyncExitStack() as stack:
        inference = await stack.enter_async_context(
            start_inference(engine, drain_timeout=0.2, max_generations=max_generations)
        )
        tokens = Tokens(edge=EDGE_TOKEN, operator=OPERATOR_TOKEN)
        addresses = {
            "auth": await serve(stack, "auth", auth, tokens),
            "quota": await serve(stack, "quota", quota, tokens),
            "inference": inference.address,
        }
        if second:
            addresses["second"] = addresses[second]
        wires = {name: Wire(address) for name, address in addresses.items()}
        for wire in wires.values():
            await wire.start()
            stack.push_async_callback(wire.close)
        lists = {name: [wires[name].address] for name in ("auth", "quota", "inference")}
        if second:
            lists[second].append(wires["second"].address)
        pipeline = await start_pipeline(
            stack,
            clock,
            preparations=preparations,
            max_unfinished_holds=max_unfinished_holds,
            timings=timings,
            **{name: ",".join(each) for name, each in lists.items()},
        )
        yield ScriptedPlatform(pipeline, auth, quota, engine, wires, clock, auth.add_key(), inference)


async def start_pipeline(
    stack: contextlib.AsyncExitStack,
    clock: Clock,
    *,
    auth: str,
    quota: str,
    inference: str,
    token: str = EDGE_TOKEN,
    resolver: Resolver | None = None,
    preparations: Preparations | None = None,
    max_unfinished_holds: int = 10_000,
    timings: Timings = DEFAULT_TIMINGS,
) -> Pipeline:
    """A pipeline to these lists of addresses, greeted by all of them. `token` is for auth and quota."""
    resolver = resolver or SystemResolver()
    dial, dial_inference = Dial(token), Dial(EDGE_TOKEN)
    peers = Peers(
        Replicas("auth", auth, dial.auth, resolver, interval=RESOLVE_INTERVAL),
        Replicas("quota", quota, dial.quota, resolver, interval=RESOLVE_INTERVAL),
        Replicas("inference", inference, dial_inference.inference, resolver, interval=RESOLVE_INTERVAL),
    )
    pipeline = Pipeline(
        peers,
        clock,
        edge_name="test edge",
        preparations=preparations,
        max_unfinished_holds=max_unfinished_holds,
        timings=timings,
    )
    stack.push_async_callback(pipeline.close)
    await pipeline.start()
    await asyncio.wait_for(pipeline.wait_ready(), PATIENCE)
    return pipeline


def streams(pipeline: Pipeline, peer: str) -> list[StreamState]:
    """The streams of an edge to the replicas of one service."""
    return [stream for stream in pipeline.streams() if stream.peer == peer]


class Collected:
    """A Sink that takes everything; `look` is called with each piece."""

    ready = True

    def __init__(self, look: Callable[[list[Delta]], None] = lambda deltas: None) -> None:
        self.batches: list[Batch] = []
        self._look = look

    @property
    def deltas(self) -> int:
        """How many were written."""
        return sum(len(batch.deltas) for batch in self.batches)

    def when_ready(self, look: Callable[[], None]) -> None:
        pass

    def write(self, deltas: list[Delta]) -> None:
        self._look(deltas)
        self.batches.append(Batch(deltas))


async def collect(answer: Answer) -> list[Batch]:
    """All batches of an answer."""
    sink = Collected()
    last = await answer.deliver(sink)
    return [*sink.batches, last]


class Reader:
    """A client that reads one piece at a time, and between two of them nothing."""

    def __init__(self, answer: Answer) -> None:
        self.ready = False
        self._answer = answer
        self._look: Callable[[], None] = lambda: None
        self._pieces: asyncio.Queue[Batch | BaseException] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def when_ready(self, look: Callable[[], None]) -> None:
        self._look = look

    def write(self, deltas: list[Delta]) -> None:
        self.ready = False
        self._pieces.put_nowait(Batch(deltas))

    async def next(self) -> Batch:
        """The next piece; the last one has usage. Raises what ended the answer."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        self.ready = True
        self._look()
        piece = await self._pieces.get()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    async def rest(self) -> list[Batch]:
        """Everything that is still to come."""
        batches = [await self.next()]
        while batches[-1].usage is None:
            batches.append(await self.next())
        return batches

    async def _run(self) -> None:
        try:
            self._pieces.put_nowait(await self._answer.deliver(self))
        except BaseException as error:  # noqa: BLE001  (next() raises it)
            self._pieces.put_nowait(error)


def text_of(batches: list[Batch]) -> str:
    """All text, whatever the choice."""
    return "".join(delta.text for batch in batches for delta in batch.deltas)


def reasons_of(batches: list[Batch]) -> list[str]:
    """All finish reasons in order."""
    return [delta.finish_reason for batch in batches for delta in batch.deltas if delta.finish_reason]


async def until(condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  (conditions of other processes' making)
            await asyncio.sleep(0.002)


async def serve(stack: contextlib.AsyncExitStack, name: str, servicer: Any, tokens: Tokens) -> str:
    """A real server around a scripted auth or quota; returns its address."""
    module = {"auth": auth_pb2, "quota": quota_pb2}[name]
    add = {"auth": auth_pb2_grpc.add_AuthServicer_to_server, "quota": quota_pb2_grpc.add_QuotaServicer_to_server}[name]
    server = Server(name=name, listen="127.0.0.1:0", tokens=tokens, drain_timeout=0.05)
    server.add(servicer, add, module.DESCRIPTOR.services_by_name[name.capitalize()])
    address = await server.start()
    stack.push_async_callback(server.stop)
    return address
