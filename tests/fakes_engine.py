"""A scripted engine for tests, and a real inference server around it (or around any other engine).

engine = ScriptedEngine("Hel", "lo", "!")           # answers these three tokens, one a step, then "stop"
async with start_inference(engine) as running:       # real gRPC on a loopback port
    running.address, running.edge_token              # what an edge needs
    pause = engine.pause_after(2)                    # next generation stops after 2 tokens …
    await pause.reached()                            # … tells so …
    pause.resume()                                   # … and goes on
    engine.fail_after(2, EngineUnavailable("died"))  # every generation from now on; engine.fail_after(None) ends it
    engine.fail_prepare(InvalidRequest("no", param="messages"))
    engine.ready = False                             # as when a worker is being restarted
    engine.gate = asyncio.Semaphore(0)               # each generation that has begun waits for one release
    engine.requests, engine.max_tokens               # what it was asked
    engine.started                                   # the last message's text of each generation that has begun
    engine.tokens_made, engine.stopped               # tokens given out; generations closed before their end
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muhgpt.inference.v1 import inference_pb2, inference_pb2_grpc
from servicekit.clock import Clock, SystemClock
from servicekit.errors import DomainError
from servicekit.rpc.access import Tokens
from servicekit.rpc.server import Server
from services.inference.default_model import FILE as DEFAULT_FILE
from services.inference.domain.chat import ChatRequest, Image
from services.inference.domain.engine import (
    Delta,
    Engine,
    FinishReason,
    Prepared,
    Sink,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from services.inference.domain.errors import ContextTooLong, EngineUnavailable, ImageNotSupported
from services.inference.domain.preparation import Handles, Preparer
from services.inference.domain.registry import ModelCard, Registry
from services.inference.engines.llama.engine import LlamaEngine, ModelTraits
from services.inference.engines.llama.process import WorkerConfig
from services.inference.engines.llama.supervisor import Patience
from services.inference.engines.routed.engine import RoutedEngine
from services.inference.engines.routed.route import Route
from services.inference.engines.upstream.engine import UpstreamConfig, UpstreamEngine
from services.inference.service import InferenceServicer
from tests.engine_steps import push

PATIENCE = 20.0  # seconds for what should happen at once, on a busy machine
EDGE_TOKEN = "edge-token-of-the-tests"
OPERATOR_TOKEN = "operator-token-of-the-tests"
MUH_CHAT = ModelCard(
    id="muh-chat",
    aliases=("gpt-3.5-turbo", "gpt-4o-mini", "gpt-4o"),
    context_length=2048,
    abilities=frozenset({"tools", "json"}),
    created=1_767_225_600,
)


class Pause:
    """Holds a generation at one token until the test lets it go on."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._resumed = asyncio.Event()

    async def reached(self, timeout: float = PATIENCE) -> None:
        """Waits until a generation stands here."""
        await asyncio.wait_for(self._reached.wait(), timeout)

    def resume(self) -> None:
        """Lets it go on."""
        self._resumed.set()

    async def hold(self) -> None:
        """The engine's side."""
        self._reached.set()
        await self._resumed.wait()


@dataclass(frozen=True)
class ScriptedPrompt:
    """What prepare gives."""

    prepared: Prepared
    request: ChatRequest
    engine: ScriptedEngine

    async def generate(self, max_tokens: int, sink: Sink, *, implied: bool = False) -> Usage:
        return await push(self.engine.generate(self, max_tokens), sink)


def count_tokens(request: ChatRequest) -> int:
    """The scripted engine's tokenizer: one token a word, three more a message."""
    return sum(len(message.text.split()) + 3 for message in request.messages)


class ScriptedEngine:
    """Answers every request with the same tokens, one a step; each choice the same. Implements domain.engine.Engine."""

    def __init__(
        self,
        *tokens: str,
        finish: FinishReason = FinishReason.STOP,
        tool_calls: Sequence[tuple[str, str]] = (),
        prompt_tokens: int | None = None,
        context_length: int = 2048,
        slots: int = 4,
        vision: bool = False,
        final_prompt_tokens: int | None = None,
        estimated: tuple[bool, bool] = (False, False),
    ) -> None:
        """`final_prompt_tokens`: the prompt as counted at the end; `estimated`: the counts before and at the end.

        `tool_calls`: (name, arguments) pairs after the tokens, at two tokens each; they end in TOOL_CALLS."""
        self.tokens = tokens
        self.finish = FinishReason.TOOL_CALLS if tool_calls else finish
        self.tool_calls = tool_calls
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length
        self.slots = slots
        self.vision = vision
        self.final_prompt_tokens = final_prompt_tokens
        self.estimated = estimated
        self.ready = True
        self.requests: list[ChatRequest] = []
        self.max_tokens: list[int] = []
        self.started: list[str] = []
        self.gate: asyncio.Semaphore | None = None
        self.prepare_gate: asyncio.Semaphore | None = None
        self.tokens_made = 0
        self.stopped = 0
        self.closed = False
        self._pauses: dict[int, Pause] = {}
        self._failure: tuple[int, Exception] | None = None
        self._prepare_failure: DomainError | None = None
        self._stopped = asyncio.Event()

    def pause_after(self, tokens: int) -> Pause:
        """The next generation that has given this many tokens (0: none yet) waits there."""
        pause = self._pauses[tokens] = Pause()
        return pause

    def fail_after(self, tokens: int | None, error: Exception | None = None) -> None:
        """From now on generations fail after this many tokens; None: no more."""
        self._failure = None if tokens is None else (tokens, error or EngineUnavailable("the scripted engine died"))

    def fail_prepare(self, error: DomainError | None) -> None:
        """From now on prepare raises this; None: no more."""
        self._prepare_failure = error

    async def wait_stopped(self, timeout: float = PATIENCE) -> None:
        """Waits until a generation was closed before its end."""
        await asyncio.wait_for(self._stopped.wait(), timeout)

    async def prepare(self, request: ChatRequest) -> ScriptedPrompt:
        self.requests.append(request)
        if self.prepare_gate is not None:
            await self.prepare_gate.acquire()
        if self._prepare_failure is not None:
            raise self._prepare_failure
        if not self.vision and any(isinstance(part, Image) for message in request.messages for part in message.content):
            raise ImageNotSupported("this model cannot take images", param="messages")
        count = count_tokens(request) if self.prompt_tokens is None else self.prompt_tokens
        if count >= self.context_length:
            raise ContextTooLong(count, self.context_length)
        return ScriptedPrompt(Prepared(count, self.context_length - count, self.estimated[0]), request, self)

    async def generate(self, prompt: ScriptedPrompt, max_tokens: int) -> AsyncGenerator[Sequence[Delta] | Usage]:
        """The steps of one generation."""
        self.max_tokens.append(max_tokens)
        sampling = prompt.request.sampling
        ended, made = False, 0
        self.started.append(prompt.request.messages[-1].text)
        try:
            if self.gate is not None:
                await self.gate.acquire()
            for deltas in self._steps(sampling.choices, max_tokens, logprobs=sampling.logprobs):
                await self._at(made // sampling.choices)
                made += sum(delta.tokens for delta in deltas)
                self.tokens_made += sum(delta.tokens for delta in deltas)
                yield deltas
                await asyncio.sleep(0)
            await self._at(made // sampling.choices)
            ended = True
            counted = self.final_prompt_tokens or prompt.prepared.prompt_tokens
            yield Usage(counted, made, self.estimated[1])
        finally:
            if not ended:
                self.stopped += 1
                self._stopped.set()

    def _steps(self, choices: int, max_tokens: int, *, logprobs: bool) -> Iterator[list[Delta]]:
        """One list a token: the same for every choice; the last one carries the finish reason."""
        pieces: list[tuple[str, tuple[ToolCallDelta, ...]]] = [(token, ()) for token in self.tokens]
        for index, (name, arguments) in enumerate(self.tool_calls):
            pieces.append(("", (ToolCallDelta(index, f"call_{index}", name),)))
            pieces.append(("", (ToolCallDelta(index, arguments=arguments),)))
        cut = len(pieces) > max_tokens
        for text, calls in pieces[:max_tokens]:
            chances = (TokenLogprob(text, text.encode(), -0.5),) if logprobs else ()
            yield [Delta(choice, text, 1, calls, chances) for choice in range(choices)]
        reason = FinishReason.LENGTH if cut else self.finish
        yield [Delta(choice, "", 0, finish_reason=reason) for choice in range(choices)]

    async def _at(self, tokens: int) -> None:
        if pause := self._pauses.pop(tokens, None):
            await pause.hold()
        if self._failure is not None and tokens >= self._failure[0]:
            raise self._failure[1]

    async def close(self) -> None:
        self.closed = True


@contextlib.asynccontextmanager
async def start_llama(
    file: Path = DEFAULT_FILE,
    *,
    context_length: int = 2048,
    slots: int = 4,
    abilities: frozenset[str] = frozenset({"tools"}),
    patience: Patience | None = None,
    projector: Path | None = None,
) -> AsyncIterator[LlamaEngine]:
    """The real engine with a worker of its own; the model that comes with the project unless told otherwise.

    With a `projector` it has vision.
    """
    if projector is not None:
        abilities |= {"vision"}
    numbers = itertools.count()
    engine = LlamaEngine(
        ModelTraits("muh-chat", abilities),
        WorkerConfig(file, context_length, slots, threads=1, projector=projector),
        SystemClock(),
        lambda: f"call_{next(numbers)}",
        patience,
    )
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


@contextlib.asynccontextmanager
async def start_upstream(address: str, key: str = "", **fields: Any) -> AsyncIterator[RoutedEngine]:
    """The upstream engine with one target, as the model list makes it; `fields` are the target's."""
    clock = SystemClock()
    engine = RoutedEngine("muh-chat", [upstream_route(address, key, clock=clock, **fields)], clock, lambda: 0.0)
    try:
        yield engine
    finally:
        await engine.close()


def upstream_route(
    address: str,
    key: str = "",
    *,
    clock: Clock,
    name: str = "upstream",
    weight: int = 1,
    order: int = 1,
    abilities: frozenset[str] = frozenset({"tools", "json"}),
    **fields: Any,
) -> Route:
    """One target. `fields` are UpstreamConfig's."""
    numbers = itertools.count()
    settings = {
        "model_id": "muh-chat",
        "target": name,
        "base_url": f"{address}/v1",
        "model": "served-name",
        "server": "openai",
        "headers": (("authorization", f"Bearer {key}"),) if key else (),
        "key": key,
        "context_length": 2048,
        "slots": 4,
        **fields,
    }
    engine = UpstreamEngine(UpstreamConfig(abilities=abilities, **settings), clock, lambda: f"call_{next(numbers)}")
    return Route("muh-chat", name, engine, clock, lambda: 0.0, weight=weight, order=order)


@dataclass(frozen=True)
class RunningInference:
    """A real inference server on a loopback port."""

    address: str
    server: Server
    registry: Registry
    edge_token: str = EDGE_TOKEN
    operator_token: str = OPERATOR_TOKEN


@contextlib.asynccontextmanager
async def start_inference(
    *engines: Engine,
    cards: Sequence[ModelCard] = (MUH_CHAT,),
    clock: Clock | None = None,
    queue_limit: int = 256,
    drain_timeout: float = 5.0,
    listen: str = "127.0.0.1:0",
    max_generations: int = 4096,
) -> AsyncIterator[RunningInference]:
    """Serves these engines, each under the card of the same place."""
    clock = clock or SystemClock()
    registry = Registry(list(zip(cards, engines, strict=True)), queue_limit)
    server = Server(
        name="inference",
        listen=listen,
        tokens=Tokens(edge=EDGE_TOKEN, operator=OPERATOR_TOKEN),
        drain_timeout=drain_timeout,
        max_message_bytes=32 * 1024 * 1024,
    )
    numbers = itertools.count(1)
    handles = Handles(clock, lambda: next(numbers).to_bytes(16, "big"))
    servicer = InferenceServicer(
        registry, Preparer(registry), handles, clock, server.draining, max_generations=max_generations
    )
    server.add(
        servicer,
        inference_pb2_grpc.add_InferenceServicer_to_server,
        inference_pb2.DESCRIPTOR.services_by_name["Inference"],
    )
    address = await server.start()
    try:
        yield RunningInference(address, server, registry)
    finally:
        await server.stop()
