"""A request's life between HTTP and the peers: who is calling, which model, admission, the answer (ARCHITECTURE.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common import key_format
from muhgpt.inference.v1 import inference_pb2
from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from servicekit.rpc.client import Peer
from servicekit.timer_wheel import TimerWheel
from services.edge.peers.auth.peer import AuthPeer
from services.edge.peers.errors import Failure
from services.edge.peers.inference.peer import Channels, InferencePeer
from services.edge.peers.metrics import CACHE_HITS
from services.edge.peers.quota.peer import MAX_UNFINISHED, QuotaPeer
from services.edge.peers.quota.reports import AccountUsage, ReceiptPage
from services.edge.peers.streaming.replicas import Replicas
from services.edge.peers.streaming.state import StreamState
from services.edge.peers.timings import DEFAULT_TIMINGS, Timings
from services.edge.serving import metrics
from services.edge.serving.answer import Answer
from services.edge.serving.credential import key_of
from services.edge.serving.errors import (
    CredentialFault,
    CredentialInvalid,
    ModelNotAllowed,
    ModelsUnknown,
    ModelUnknown,
    Restarting,
)
from services.edge.serving.first_progress import FirstProgress
from services.edge.serving.gateway import Caller, ModelInfo
from services.edge.serving.live_answer import LiveAnswer
from services.edge.serving.model_catalogue import ModelCatalogue
from services.edge.serving.open_answers import OpenRequest, Running, Upload
from services.edge.serving.opening import Opening
from services.edge.serving.order import AnswerOrder
from services.edge.serving.preparations import Preparations
from services.edge.serving.recent_refusals import RecentRefusals

log = get_logger(__name__)

FIRST_CONTACT_INTERVAL = 0.05  # seconds between looks, until the edge has served for the first time


@dataclass(frozen=True)
class Peers:
    """The replicas of each service."""

    auth: Replicas[Peer]
    quota: Replicas[Peer]
    inference: Replicas[Channels]

    def start(self) -> None:
        """Follows their names."""
        for replicas in (self.auth, self.quota, self.inference):
            replicas.start()

    async def close(self) -> None:
        """Closes all channels."""
        await asyncio.gather(self.auth.close(), self.quota.close(), self.inference.close())


class Pipeline:
    """The whole path of one edge worker. start(), then requests, then drain() and close()."""

    def __init__(
        self,
        peers: Peers,
        clock: Clock,
        *,
        edge_name: str,
        cached_keys: int = 100_000,
        preparations: Preparations | None = None,
        max_unfinished_holds: int = MAX_UNFINISHED,
        timings: Timings = DEFAULT_TIMINGS,
        timers: TimerWheel | None = None,
    ) -> None:
        self._peers = peers
        self._timings = timings
        self._timers = timers or TimerWheel()
        self._preparations = preparations or Preparations()
        self._clock = clock
        self._running = Running()
        self._first_progress = FirstProgress(clock)
        self._auth = AuthPeer(peers.auth, self._running, clock, edge_name=edge_name, cache_size=cached_keys)
        self._quota = QuotaPeer(
            peers.quota, clock, edge_name=edge_name, max_unfinished=max_unfinished_holds, timings=timings
        )
        self._inference = InferencePeer(peers.inference, clock, edge_name=edge_name, timings=timings)
        self._recent_refusals = RecentRefusals(clock)
        self._catalogue = ModelCatalogue(_info)
        self._leaving = self._draining = False
        self._greeting: asyncio.Task[None] | None = None

    # Life

    async def start(self) -> None:
        """Opens all streams in the background; requests are answered 503 or 502 until they are open."""
        self._peers.start()
        self._auth.start()
        self._quota.start()
        self._inference.start()
        self._greeting = asyncio.create_task(self._first_contact(), name="first contact")

    async def wait_ready(self) -> None:
        """Returns when every peer has greeted for the first time."""
        await asyncio.gather(self._auth.wait_ready(), self._quota.wait_ready(), self._inference.wait_ready())

    async def _first_contact(self) -> None:
        """Until every service was reached; one replica of each is enough."""
        while not self.serving:  # noqa: ASYNC110  (once, at the start)
            await asyncio.sleep(FIRST_CONTACT_INTERVAL)

    @property
    def serving(self) -> bool:
        """True while requests can be served: auth trusted, quota and inference reached, not draining."""
        return not self._leaving and self._auth.trusted and self._quota.up and self._inference.up

    @property
    def ready(self) -> bool:
        """True from the first moment of serving until it drains.

        A peer that is away is away for all edges: were all of them to turn unready, clients would find nobody, where an
        edge that stays answers them 503 with a reason and a time.
        """
        return self._greeting is not None and self._greeting.done() and not self._leaving

    @property
    def open_answers(self) -> int:
        """Answers being prepared or running, and bodies that are arriving."""
        return len(self._running)

    @property
    def unfinished_holds(self) -> int:
        """Holds whose end quota has not acknowledged."""
        return self._quota.unfinished

    def streams(self) -> list[StreamState]:
        """What the streams to all peers are doing."""
        return [*self._auth.streams(), *self._quota.streams(), *self._inference.streams()]

    def leave(self) -> None:
        """Not ready from now on, so that nobody sends more; what arrives all the same is served."""
        self._leaving = True

    async def drain(self, timeout: float) -> None:
        """Refuses new answers with 503, waits for the running ones and their charges, up to timeout seconds."""
        self._leaving = self._draining = True
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while self.open_answers and loop.time() < until:  # noqa: ASYNC110  (once, at shutdown)
            await asyncio.sleep(0.02)
        if self.open_answers:
            log.warning("answers_cut", answers=self.open_answers)
            self._running.end_all(Restarting)
        # What was just cut still has charges to hand over; that takes milliseconds when quota is there.
        if not await self._quota.drained(max(1.0, until - loop.time())):
            owing = [stream.at for stream in self._quota.streams() if stream.load]
            log.error("settlements_unacknowledged", holds=self.unfinished_holds, replicas=owing)

    async def close(self) -> None:
        """Ends all streams and closes the channels."""
        if self._greeting is not None:
            self._greeting.cancel()
        await self._auth.close()
        await self._inference.close()
        await self._quota.close()
        await self._peers.close()

    # Requests

    def remembered(self, authorization: str | None) -> Caller | None:
        """The caller of an Authorization header when its key is cached; None when auth must be asked.

        Raises Unauthenticated (no key, not well-formed, expired), Unavailable when auth is not to be trusted now.
        """
        key = key_of(authorization)
        digest = key_format.digest(key)
        principal = self._auth.remembered(digest)
        if principal is not None:
            CACHE_HITS.inc()
            return Caller(principal, digest)
        if not key_format.is_well_formed(key):
            raise CredentialInvalid(CredentialFault.KEY)
        return None

    async def authenticate(self, authorization: str | None) -> Caller:
        """The caller of an Authorization header. Raises Unauthenticated, Unavailable."""
        caller = self.remembered(authorization)
        if caller is not None:
            return caller
        digest = key_format.digest(key_of(authorization))
        return Caller(await self._auth.authenticate(digest), digest)

    def uploading(self, caller: Caller, end: Callable[[Failure], None]) -> Upload:
        """`with` it a body is arriving, which counts as an open answer; `end` ends it. Raises TooManyAnswers."""
        return Upload(self._running, caller.principal, caller.key_digest, end)

    def models(self, caller: Caller) -> Sequence[ModelInfo]:
        """The aliases that this key may use, as inference told last. Raises ModelsUnknown when it never did."""
        return self._catalogue.usable(self._models(), caller.principal.allowed_models)

    def resolve(self, caller: Caller, alias: str) -> ModelInfo:
        """One alias. Raises ModelUnknown, ModelNotAllowed, ModelsUnknown."""
        model = self._models().get(alias)
        if model is None:
            raise ModelUnknown(alias)
        allowed = caller.principal.allowed_models
        if allowed and alias not in allowed:
            raise ModelNotAllowed(alias)
        return _info(model)

    async def open(self, caller: Caller, order: AnswerOrder) -> Answer:
        """Admits a request and returns when its first output is at hand.

        Raises a Failure for everything that goes wrong before. Cancelled anywhere, it leaves neither a hold nor work
        behind.
        """
        started = self._clock.monotonic()
        entry = await self._admit(caller, order.deadline)
        opening = Opening(
            entry,
            order,
            self._quota,
            self._inference,
            self._recent_refusals,
            self._clock,
            self._preparations,
            self._timings,
        )
        answer = LiveAnswer(await opening.run(), entry, self._auth, self._clock, self._first_progress, self._timings)
        metrics.FIRST_TOKEN.observe(self._clock.monotonic() - started)
        return answer

    async def usage(self, caller: Caller, start_day: str, end_day: str) -> AccountUsage:
        """The account's usage of UTC days YYYY-MM-DD, both inclusive. Raises QueryRefused, Unavailable."""
        return await self._quota.usage(caller.principal.account_id, start_day, end_day)

    async def charges(self, caller: Caller, limit: int, after: str) -> ReceiptPage:
        """The receipts, newest first, older than the one with the id `after`. Raises QueryRefused, Unavailable."""
        return await self._quota.charges(caller.principal.account_id, limit, after)

    async def _admit(self, caller: Caller, deadline: float) -> OpenRequest:
        """Counts the request in. The key is looked up again: it may have been revoked while the body was read."""
        if self._draining:
            raise Restarting(retry_after=1.0)
        principal = await self._auth.authenticate(caller.key_digest)
        # No await from here on, so a revocation finds the request.
        self._recent_refusals.check(principal)
        self._quota.link_of(principal.account_id)
        seconds_left = max(0.0, deadline - self._clock.monotonic())
        return OpenRequest(self._running, principal, caller.key_digest, seconds_left, self._timers)

    def _models(self) -> dict[str, inference_pb2.Model]:
        models = self._inference.models()
        if not models:
            raise ModelsUnknown
        return models


def _info(model: inference_pb2.Model) -> ModelInfo:
    return ModelInfo(
        alias=model.alias,
        model=model.model,
        created=model.created,
        owned_by=model.owned_by,
        context_length=model.context_length,
        supports_tools=model.supports_tools,
        supports_vision=model.supports_vision,
        supports_json=model.supports_json,
        ready=model.ready,
    )
