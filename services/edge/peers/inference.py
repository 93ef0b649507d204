"""Who generates: the replica with the least outstanding work, and the models that the replicas have told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from muhgpt.inference.v1 import inference_pb2, inference_pb2_grpc
from servicekit import tracing
from servicekit.client import Peer
from servicekit.clock import Clock
from servicekit.logging import get_logger
from servicekit.rpc_status import RpcFailure
from services.edge.http_errors import ApiError, from_rpc_failure
from services.edge.peers.generation import Generation
from services.edge.peers.inference_link import InferenceLink, new_session_id

log = get_logger(__name__)

LARGE = 256 * 1024  # bytes of a request above which it goes through the unary Prepare
LARGE_MESSAGE = 64 * 1024 * 1024  # that channel's message limit
MODELS_INTERVAL = 10.0  # seconds between questions for the models
CALL_TIMEOUT = 5.0  # seconds for ListModels
REOPEN_PATIENCE = 2.0  # seconds that a request waits for some replica to come back


class InferencePeer:
    """One stream for each replica. `peers` are (stream and small calls, large calls), one pair a replica."""

    def __init__(self, peers: list[tuple[Peer, Peer]], clock: Clock, *, edge_name: str) -> None:
        session_id = new_session_id()
        self._links = [
            InferenceLink(peer, large, session_id, clock, edge_name, self._tell_opened) for peer, large in peers
        ]
        self._waiting: set[asyncio.Event] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._told = asyncio.Event()
        self._models: dict[str, inference_pb2.Model] = {}
        self._clock = clock

    def start(self) -> None:
        """Opens the streams and keeps the list of models fresh."""
        for link in self._links:
            link.link.start()
            self._tasks.append(asyncio.create_task(self._refresh(link), name="models"))

    async def wait_ready(self) -> None:
        """Returns when some replica has told its models."""
        await self._told.wait()

    @property
    def up(self) -> bool:
        """True while some replica takes requests."""
        return any(link.usable for link in self._links)

    async def close(self) -> None:
        """Ends the streams; what runs on them is cancelled by inference. The peers are closed by who made them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self._links:
            await link.link.close()

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

        Raises ApiError: 502 when no replica is there, and what the unary Prepare of a large request failed with.
        """
        link = await self._choose(request.model)
        traceparent = tracing.current.get().traceparent
        prepare = inference_pb2.Prepare(request_id=request_id, account_id=account_id, traceparent=traceparent)
        prepare.deadline.FromMilliseconds(max(1, int(seconds_left * 1000)))
        if request.ByteSize() > LARGE:
            prepare.handle = await self._hand_over(link, request, request_id, account_id, seconds_left)
        else:
            prepare.request.CopyFrom(request)
        generation = link.generation(wake)
        if link.up:
            generation.prepare(prepare)
        else:  # it broke while the large request was handed over
            link.forget(generation)
            generation.break_off()
        return generation

    async def _choose(self, model: str) -> InferenceLink:
        """The usable replica that has the model (ready, if any is) and the least to do. Waits a little for one."""
        if (link := self._best(model)) is not None:
            return link
        if any(link.down_for() < REOPEN_PATIENCE for link in self._links):
            opened = asyncio.Event()
            self._waiting.add(opened)
            try:
                async with asyncio.timeout(REOPEN_PATIENCE):
                    while (link := self._best(model)) is None:
                        await opened.wait()
                        opened.clear()
                return link
            except TimeoutError:
                log.warning("no_replica", model=model)
            finally:
                self._waiting.discard(opened)
        raise ApiError.upstream_error()

    def _best(self, model: str) -> InferenceLink | None:
        usable = [link for link in self._links if link.usable]
        if len(usable) < 2:
            return usable[0] if usable else None
        return min(usable, key=lambda link: (_rank(link, model), link.outstanding))

    async def _hand_over(
        self,
        link: InferenceLink,
        request: inference_pb2.ChatRequest,
        request_id: str,
        account_id: str,
        seconds_left: float,
    ) -> bytes:
        message = inference_pb2.PrepareRequest(
            session_id=link.session_id, request=request, request_id=request_id, account_id=account_id
        )
        stub = inference_pb2_grpc.InferenceStub(link.large.channel)
        try:
            response = await link.large.call(stub.Prepare, message, timeout=max(0.001, seconds_left))
        except RpcFailure as failure:
            raise from_rpc_failure(failure, "inference") from None
        return bytes(response.handle)

    def _tell_opened(self) -> None:
        for opened in self._waiting:
            opened.set()

    async def _refresh(self, link: InferenceLink) -> None:
        """Asks for the models when a session began, and every few seconds."""
        stub = inference_pb2_grpc.InferenceStub(link.peer.channel)
        pause = MODELS_INTERVAL
        while True:
            try:
                async with asyncio.timeout(pause):
                    await link.greeted.wait()
            except TimeoutError:
                if not link.up:
                    continue
            link.greeted.clear()
            try:
                response = await link.peer.call(
                    stub.ListModels, inference_pb2.ListModelsRequest(), timeout=CALL_TIMEOUT
                )
            except RpcFailure as failure:
                log.warning("models_unknown", code=failure.code.name, reason=failure.reason)
                pause = 1.0
                continue
            pause = MODELS_INTERVAL
            link.models = {model.alias: model for model in response.models}
            self._models = self._merged()
            self._told.set()

    def _merged(self) -> dict[str, inference_pb2.Model]:
        merged: dict[str, inference_pb2.Model] = {}
        for link in self._links:
            for alias, model in link.models.items():
                if alias not in merged or (model.ready and not merged[alias].ready):
                    merged[alias] = model
        return merged


def _rank(link: InferenceLink, model: str) -> int:
    """0: the model is ready there; 1: it is known or nothing is; 2: it is not there."""
    known = [each for each in link.models.values() if each.model == model]
    if any(each.ready for each in known):
        return 0
    return 1 if known or not link.models else 2
