"""From a validated request to its first output: prepare, reserve, go (steps 2 to 4 of the README's picture)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from common.reasons import Reason
from muhgpt.inference.v1 import inference_pb2
from muhgpt.quota.v1 import quota_pb2
from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from services.edge.peers.errors import Failure, GenerationFailed, Refused, Service, Unavailable
from services.edge.peers.inference.from_inference import to_failure
from services.edge.peers.inference.generation import Generation
from services.edge.peers.inference.peer import InferencePeer
from services.edge.peers.quota.from_quota import to_refused
from services.edge.peers.quota.hold import Hold
from services.edge.peers.quota.peer import QuotaPeer
from services.edge.peers.timings import DEFAULT_TIMINGS, Timings
from services.edge.serving.live_answer import LiveAnswer
from services.edge.serving.preparations import Preparations
from services.edge.serving.recent_refusals import Admission

log = get_logger(__name__)

# Refusals that come again, of which an edge answers some itself when there are many (recent_refusals.py).
DENIALS = frozenset({Reason.INSUFFICIENT_CREDITS, Reason.KEY_LIMIT_REACHED, Reason.LOSSES_TOO_HIGH})
# What a client could have known; what quota refuses is refused before work.
CLIENT_FAULTS = frozenset(
    {
        Reason.INVALID_REQUEST,
        Reason.CONTEXT_TOO_LONG,
        Reason.IMAGE_NOT_SUPPORTED,
        Reason.INVALID_IMAGE,
        Reason.INVALID_IMAGE_URL,
    }
)
STARTS = 2  # a generation whose stream broke before it started, or whose engine is away, is prepared once more


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked, with everything that the peers need to know."""

    request: inference_pb2.ChatRequest
    max_tokens: int | None  # per choice; None: what the model's context leaves
    choices: int
    request_id: str
    deadline: float  # monotonic seconds


class Opening:
    """Brings one LiveAnswer to its first output. Cancelled or failed anywhere, it leaves nothing behind."""

    def __init__(
        self,
        answer: LiveAnswer,
        order: Order,
        quota: QuotaPeer,
        inference: InferencePeer,
        admission: Admission,
        clock: Clock,
        preparations: Preparations,
        timings: Timings = DEFAULT_TIMINGS,
    ) -> None:
        self._answer = answer
        self._timings = timings
        self._order = order
        self._quota = quota
        self._inference = inference
        self._admission = admission
        self._clock = clock
        self._preparations = preparations
        self._prepared: inference_pb2.Prepared | None = None

    async def run(self) -> None:
        """Returns when the first output is at hand. Raises a Failure."""
        try:
            for _ in range(STARTS):
                if await self._start():
                    return
            raise Unavailable(Service.INFERENCE)
        except Failure as error:
            self._answer.end(error)
            raise
        except BaseException:
            self._answer.abandon()
            raise

    async def _start(self) -> bool:
        """One try on one replica. False: its stream broke before the start, or its engine is away."""
        answer = self._answer
        with answer.trace.child("prepare"):
            generation = await self._prepare_in_turn()
        if generation.refused_away and self._inference.ready(self._order.request.model):
            return False
        if generation.events:
            raise _failure(generation)
        if generation.prepared is None:
            return False
        max_tokens = await self._reserve(generation.prepared)
        if generation.lost:
            return False
        answer.generating = answer.trace.child("generate")
        implied = self._order.max_tokens is None and max_tokens >= generation.prepared.max_tokens
        generation.go(max_tokens, answer.generating.traceparent, implied=implied)
        while not generation.events and not generation.lost:
            await self._wait()
            answer.slide_withheld()
        if generation.lost:
            answer.generating.end("lost")
            return False
        if isinstance(generation.events[0], inference_pb2.Failed):
            raise _failure(generation)
        if answer.error is not None:
            raise answer.error
        return True

    async def _prepare_in_turn(self) -> Generation:
        """Prepares the prompt once its account has few enough under way; what a refusal cost is charged to it."""
        account_id = self._answer.principal.account_id
        turn = self._preparations.enter(account_id, self._answer.wakeup.set)
        began: float | None = None
        try:
            while not turn.granted:
                await self._wait()
            began = self._clock.monotonic()
            generation = await self._prepare()
            while generation.prepared is None and not generation.events and not generation.lost:
                await self._wait()
            if generation.events and not generation.refused_away:
                raise _failure(generation)
            return generation
        except GenerationFailed as failed:
            if began is not None and failed.reason in CLIENT_FAULTS:
                share = (self._clock.monotonic() - began) / max(1, self._preparations.running)
                spent = share if failed.spent is None else failed.spent
                self._preparations.charge(account_id, spent)
            raise
        finally:
            turn.end()

    async def _prepare(self) -> Generation:
        answer, order = self._answer, self._order
        generation = await self._inference.prepare(
            order.request,
            answer.wakeup.set,
            request_id=order.request_id,
            account_id=answer.principal.account_id,
            seconds_left=order.deadline - self._clock.monotonic(),
        )
        if answer.error is not None:  # ended while a large request was handed over
            generation.leave()
            raise answer.error
        answer.generation = generation
        return generation

    async def _reserve(self, prepared: inference_pb2.Prepared) -> int:
        """Admits the request once, however often it is prepared; returns output tokens per choice."""
        answer, order = self._answer, self._order
        if self._prepared is not None:
            if prepared.prompt_tokens > self._prepared.prompt_tokens:
                log.warning("prompt_counted_differently", request_id=order.request_id)
                raise Unavailable(Service.INFERENCE)
            return min(answer.max_tokens, prepared.max_tokens)
        link, hold = self._quota.hold(answer.principal.account_id, answer.wakeup.set)
        answer.hold = hold
        with answer.trace.child("reserve") as span:
            hold.reserve(self._reservation(prepared), answer.trace, span.traceparent)
            await self._reserved(hold)
        if hold.refused is not None:
            raise self._refusal(hold, to_refused(hold.refused), hold.refused.detail)
        self._prepared = prepared
        answer.admitted(link, prepared)
        return answer.max_tokens

    async def _reserved(self, hold: Hold) -> None:
        try:
            async with asyncio.timeout(self._timings.reserve_timeout):
                while hold.reserved is None and hold.refused is None:
                    await self._wait()
        except TimeoutError:
            # Ending the answer queues a release, so a late reservation stays dead.
            raise Unavailable(Service.QUOTA) from None

    def _reservation(self, prepared: inference_pb2.Prepared) -> quota_pb2.Reserve:
        principal, order = self._answer.principal, self._order
        wanted = prepared.max_tokens if order.max_tokens is None else min(order.max_tokens, prepared.max_tokens)
        return quota_pb2.Reserve(
            account_id=principal.account_id,
            key_id=principal.key_id,
            model=order.request.model,
            prompt_tokens=prepared.prompt_tokens,
            max_tokens=wanted,
            choices=order.choices,
            account_version=principal.account_version,
            key_version=principal.key_version,
            requests_per_minute=principal.requests_per_minute,
            monthly_credit_limit=principal.monthly_credit_limit,
            key_requests_per_minute=principal.key_requests_per_minute,
            estimated=prepared.estimated,
        )

    def _refusal(self, hold: Hold, refused: Refused, detail: str) -> Refused:
        """Remembers what will be refused again; logs what no client can be the cause of."""
        principal = self._answer.principal
        if refused.reason is Reason.RATE_LIMITED:
            self._admission.full(principal, hold.sent_at, refused)
            self._admission.denied(principal)
        elif refused.reason in DENIALS:
            self._admission.denied(principal)
        else:
            request_id = self._order.request_id
            log.error("reserve_refused", reason=f"REASON_{refused.reason}", detail=detail, request_id=request_id)
        return refused

    async def _wait(self) -> None:
        """Until something changed. Raises what ended the answer from outside: revocation, deadline, lost trust."""
        if self._answer.error is None:
            await self._answer.wakeup.wait()
        if self._answer.error is not None:
            raise self._answer.error


def _failure(generation: Generation) -> Failure:
    event = generation.events[0]
    return to_failure(event) if isinstance(event, inference_pb2.Failed) else Unavailable(Service.INFERENCE)
