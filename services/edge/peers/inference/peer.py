"""Who generates: the replica with the least outstanding work, and the models that the replicas have told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Container, Coroutine
from dataclasses import dataclass

import grpc

from common.reasons import Reason
from muhgpt.inference.v1 import inference_pb2, inference_pb2_grpc
from servicekit.clock import Clock
from servicekit.observability import tracing
from servicekit.observability.logging import get_logger
from servicekit.rpc.client import Peer
from servicekit.rpc.status import RpcFailure
from services.edge.peers.errors import Service, Unavailable
from services.edge.peers.inference.from_inference import from_hand_over
from services.edge.peers.inference.generation import Generation
from services.edge.peers.inference.session import InferenceLink, new_session_id
from services.edge.peers.streaming.replicas import Replica, Replicas
from services.edge.peers.streaming.state import StreamState
from services.edge.peers.timings import DEFAULT_TIMINGS, Timings

log = get_logger(__name__)

LARGE = 256 * 1024  # bytes of a request above which it goes through the unary Prepare
# Bytes of one message of a Session: what an engine gives at once may bring the log probabilities of a whole answer.
SESSION_MESSAGE = 16 * 1024 * 1024
LARGE_MESSAGE = 64 * 1024 * 1024  # that channel's message limit
MODELS_INTERVAL = 10.0  # seconds between questions for the models …
UNREADY_INTERVAL = 1.0  # … and while one is not ready, or there was no answer
CALL_TIMEOUT = 5.0  # seconds for ListModels
HAND_OVERS = 3  # replicas that a large request is offered to


@dataclass(frozen=True)
class Channels:
    """To one replica: `small` for the stream and small calls, `large` with the raised message limit."""

    small: Peer
    large: Peer

    async def close(self) -> None:
        """Closes both at once."""
        await asyncio.gather(self.small.close(), self.large.close())

    async def close_when_idle(self) -> None:
        """Closes both when their calls have ended."""
        await asyncio.gather(self.small.close_when_idle(), self.large.close_when_idle())


class InferencePeer:
    """One stream for each replica, now and when others come."""

    def __init__(
        self, replicas: Replicas[Channels], clock: Clock, *, edge_name: str, timings: Timings = DEFAULT_TIMINGS
    ) -> None:
        self._timings = timings
        self._replicas = replicas
        self._session_id = new_session_id()
        self._clock = clock
        self._edge_name = edge_name
        self._links: dict[Replica[Channels], InferenceLink] = {}
        self._waiting: set[asyncio.Event] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = asyncio.Event()
        self._models: dict[str, inference_pb2.Model] = {}

    def start(self) -> None:
        """Opens the streams and keeps the list of models fresh."""
        self._replicas.watch(self._follow)
        self._follow()

    async def wait_ready(self) -> None:
        """Returns when some replica has told its models."""
        await self._told.wait()

    @property
    def up(self) -> bool:
        """True while some replica takes requests."""
        return any(link.usable for link in self._links.values())

    def streams(self) -> list[StreamState]:
        """The stream of each replica."""
        return [
            StreamState(
                "inference",
                replica.address,
                replica.address,
                link.up,
                link.usable and bool(link.models),
                link.running,
            )
            for replica, link in self._links.items()
        ]

    async def close(self) -> None:
        """Ends the streams; what runs on them is cancelled by inference. The replicas are closed by who made them."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(link.link.close() for link in self._links.values()))

    def models(self) -> dict[str, inference_pb2.Model]:
        """By alias, as last told; a model is ready when some replica has it ready. Empty: never told."""
        return self._models

    async def prepare(
        self,
        request: inference_pb2.ChatRequest,
        wake: Callable[[], None],
        *,
        request_id: str,
        account_id: str,
        seconds_left: float,
    ) -> Generation:
        """Sends the request to a replica; `wake` is called when something came of it.

        Raises Unavailable when no replica is there, and what the unary Prepare of a large request failed with.
        """
        traceparent = tracing.current.get().traceparent
        prepare = inference_pb2.Prepare(request_id=request_id, account_id=account_id, traceparent=traceparent)
        prepare.deadline.FromMilliseconds(max(1, int(seconds_left * 1000)))
        if request.ByteSize() > LARGE:
            message = inference_pb2.PrepareRequest(
                session_id=self._session_id, request=request, request_id=request_id, account_id=account_id
            )
            link, prepare.handle = await self._hand_over(message, seconds_left)
        else:
            link = await self._choose(request.model)
            prepare.request.CopyFrom(request)
        generation = link.generation(request.model, wake)
        if link.up:
            generation.prepare(prepare)
        else:  # it broke while the large request was handed over
            link.forget(generation)
            generation.break_off()
        return generation

    def ready(self, model: str) -> bool:
        """Whether some replica's engine takes requests for this model, as far as is known."""
        return any(link.usable and link.rank(model) == 0 for link in self._links.values())

    async def _choose(self, model: str, but: Container[InferenceLink] = ()) -> InferenceLink:
        """The usable replica that has the model (ready, if any is) and the least to do. Waits a little for one.

        Those in `but` were tried. Raises Unavailable.
        """
        if (link := self._best(model, but)) is not None:
            return link
        if any(link.down_for() < self._timings.reopen_timeout for link in self._links.values()):
            opened = asyncio.Event()
            self._waiting.add(opened)
            try:
                async with asyncio.timeout(self._timings.reopen_timeout):
                    while (link := self._best(model, but)) is None:
                        await opened.wait()
                        opened.clear()
                return link
            except TimeoutError:
                log.warning("no_replica", model=model)
            finally:
                self._waiting.discard(opened)
        raise Unavailable(Service.INFERENCE)

    def _best(self, model: str, but: Container[InferenceLink]) -> InferenceLink | None:
        usable = [link for link in self._links.values() if link.usable and link not in but]
        if len(usable) < 2:
            return usable[0] if usable else None
        # Of equals any: all edges would choose the same first one.
        return min(usable, key=lambda link: (link.rank(model), link.outstanding, random.random()))

    async def _hand_over(
        self, message: inference_pb2.PrepareRequest, seconds_left: float
    ) -> tuple[InferenceLink, bytes]:
        """Sends a large request. One that a replica did not take, leaving or its engine away, goes to another.

        Raises GenerationFailed, Unavailable, Unexplained.
        """
        until = self._clock.monotonic() + seconds_left
        tried: list[InferenceLink] = []
        while True:
            link = await self._choose(message.request.model, tried)
            stub = inference_pb2_grpc.InferenceStub(link.large.channel)
            try:
                left = max(0.001, until - self._clock.monotonic())
                response = await link.large.call(stub.Prepare, message, timeout=left)
                return link, bytes(response.handle)
            except RpcFailure as failure:
                tried.append(link)
                if len(tried) >= HAND_OVERS or not self._may_be_taken_elsewhere(failure, link, message.request.model):
                    raise from_hand_over(failure) from None
                log.info("hand_over_repeated", request_id=message.request_id, problem=failure.message)

    def _may_be_taken_elsewhere(self, failure: RpcFailure, link: InferenceLink, model: str) -> bool:
        if failure.reason == Reason.ENGINE_UNAVAILABLE:
            link.found_away(model)
            # The engine died under it (inference.proto, Failed.engine_died): another one might too.
            return "engine_died" not in failure.metadata and self.ready(model)
        return failure.code is grpc.StatusCode.UNAVAILABLE and not failure.reason

    def _tell_opened(self) -> None:
        for opened in self._waiting:
            opened.set()

    def _follow(self) -> None:
        """The replicas are others than before."""
        for replica in self._replicas.now:
            if replica not in self._links:
                link = self._links[replica] = InferenceLink(
                    replica.connection.small,
                    replica.connection.large,
                    self._session_id,
                    self._clock,
                    self._edge_name,
                    opened=self._tell_opened,
                    drains=self._replicas.look,
                )
                link.link.start()
                self._keep(self._refresh(link))
        for replica in [each for each in self._links if each not in self._replicas.now]:
            self._keep(self._see_off(self._links.pop(replica)))
        self._take_models(self._merged() or self._models)

    async def _see_off(self, link: InferenceLink) -> None:
        """Answers that run on a replica whose address is gone go on to their ends."""
        link.leave()
        try:
            await link.empty.wait()
        finally:
            await link.link.close()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refresh(self, link: InferenceLink) -> None:
        """Asks for the models when a session began, and every few seconds, until the replica is gone."""
        pause = MODELS_INTERVAL
        while not link.leaving:
            try:
                async with asyncio.timeout(pause):
                    await link.greeted.wait()
            except TimeoutError:
                if not link.up:
                    continue
            if link.leaving:
                return
            link.greeted.clear()
            try:
                stub = inference_pb2_grpc.InferenceStub(link.peer.channel)
                response = await link.peer.call(
                    stub.ListModels, inference_pb2.ListModelsRequest(), timeout=CALL_TIMEOUT
                )
            except RpcFailure as failure:
                log.warning("models_unknown", code=failure.code.name, reason=failure.reason)
                pause = UNREADY_INTERVAL
                continue
            link.tell_models(response.models)
            pause = MODELS_INTERVAL if all(model.ready for model in response.models) else UNREADY_INTERVAL
            self._take_models(self._merged())
            self._told.set()

    def _take_models(self, models: dict[str, inference_pb2.Model]) -> None:
        """The dict changes only when the models do, so that what was made of it lasts."""
        if models != self._models:
            self._models = models

    def _merged(self) -> dict[str, inference_pb2.Model]:
        merged: dict[str, inference_pb2.Model] = {}
        for link in self._links.values():
            for alias, model in link.models.items():
                if alias not in merged or (model.ready and not merged[alias].ready):
                    merged[alias] = model
        return merged
