"""From a validated request to its first output: prepare, reserve, go (steps 2 to 4 of the README's picture)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from common.reasons import Reason
from muhgpt.inference.v1 import inference_pb2
from muhgpt.quota.v1 import quota_pb2
from servicekit.clock import Clock
from servicekit.observability import tracing
from servicekit.observability.logging import get_logger
from services.edge.peers.errors import Failure, GenerationFailed, Refused, Service, Unavailable
from services.edge.peers.inference.from_inference import to_failure
from services.edge.peers.inference.generation import Generation
from services.edge.peers.inference.peer import InferencePeer
from services.edge.peers.quota.from_quota import to_rate_window, to_refused
from services.edge.peers.quota.hold import Hold
from services.edge.peers.quota.peer import QuotaPeer
from services.edge.peers.quota.rate_window import RateWindow
from services.edge.peers.quota.session import QuotaLink
from services.edge.peers.streaming.wakeup import Wakeup
from services.edge.peers.timings import DEFAULT_TIMINGS, Timings
from services.edge.serving import metrics
from services.edge.serving.ending import Charge, charge_of_failing, charge_of_leaving, end_at_peers, forget_output
from services.edge.serving.open_answers import OpenRequest
from services.edge.serving.order import AnswerOrder
from services.edge.serving.preparations import Preparations
from services.edge.serving.recent_refusals import RecentRefusals

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


class Lease(Protocol):
    """The session that a hold is on."""

    lapses_at: float  # monotonic: from then on nothing may be delivered
    window_tokens: int  # how far ahead of what was delivered a hold covers


@dataclass(frozen=True, slots=True)
class Opened:
    """A request whose first output is at hand, and what it has at its peers."""

    order: AnswerOrder
    generation: Generation
    hold: Hold
    lease: Lease
    prompt_tokens: int
    max_tokens: int  # output tokens per choice, after clipping to what the account can pay
    window: RateWindow
    span: tracing.Span  # of the generation, not yet ended


class Opening:
    """Brings one request to its first output. Cancelled or failed anywhere, it leaves nothing behind."""

    def __init__(
        self,
        entry: OpenRequest,
        order: AnswerOrder,
        quota: QuotaPeer,
        inference: InferencePeer,
        recent_refusals: RecentRefusals,
        clock: Clock,
        preparations: Preparations,
        timings: Timings = DEFAULT_TIMINGS,
    ) -> None:
        self._entry = entry
        self._order = order
        self._quota = quota
        self._inference = inference
        self._recent_refusals = recent_refusals
        self._clock = clock
        self._preparations = preparations
        self._timings = timings
        self._wakeup = Wakeup()
        self._trace = tracing.current.get()  # the request's span
        self._span = tracing.NONE  # the generation's
        self._generation: Generation | None = None
        self._link: QuotaLink | None = None
        self._hold: Hold | None = None
        self._prepared: inference_pb2.Prepared | None = None  # as it was reserved
        self._max_tokens = 0
        self._error: Failure | None = None  # what ended it from outside
        entry.concerns(self._end)

    async def run(self) -> Opened:
        """Returns when the first output is at hand. Raises a Failure."""
        try:
            for _ in range(STARTS):
                opened = await self._start()
                if opened is not None:
                    return opened
            raise Unavailable(Service.INFERENCE)
        except Failure as error:
            self._leave(charge_of_failing(self._generation, 0), error.name)
            metrics.OUTCOMES.labels("failed").inc()
            raise
        except BaseException:
            self._leave(charge_of_leaving(self._generation, self._hold))
            metrics.OUTCOMES.labels("abandoned").inc()
            raise

    def _end(self, error: Failure) -> None:
        """Revocation, deadline, lost trust."""
        if self._error is None:
            self._error = error
            self._wakeup.set()

    def _leave(self, charge: Charge, error: str = "") -> None:
        self._entry.leave()
        self._span.end(error)
        end_at_peers(self._generation, self._hold, charge, self._prepared.prompt_tokens if self._prepared else 0)
        forget_output(self._generation, self._hold)

    async def _start(self) -> Opened | None:
        """One try on one replica. None: its stream broke before the start, or its engine is away."""
        with self._trace.child("prepare"):
            generation = await self._prepare_in_turn()
        if generation.refused_away and self._inference.ready(self._order.request.model):
            return None
        if generation.events:
            raise _failure(generation)
        if generation.prepared is None:
            return None
        link, hold, max_tokens = await self._reserve(generation.prepared)
        if generation.lost:
            return None
        self._span = self._trace.child("generate")
        implied = self._order.max_tokens is None and max_tokens >= generation.prepared.max_tokens
        generation.go(max_tokens, self._span.traceparent, implied=implied)
        while not generation.events and not generation.lost:
            await self._wait()
            self._slide_withheld(generation, link, hold)
        if generation.lost:
            self._span.end("lost")
            return None
        if isinstance(generation.events[0], inference_pb2.Failed):
            raise _failure(generation)
        if self._error is not None:
            raise self._error
        return self._opened(generation, link, hold)

    def _opened(self, generation: Generation, lease: Lease, hold: Hold) -> Opened:
        assert self._prepared is not None
        assert hold.reserved is not None
        window = to_rate_window(hold.reserved.window)
        prompt_tokens = self._prepared.prompt_tokens
        return Opened(self._order, generation, hold, lease, prompt_tokens, self._max_tokens, window, self._span)

    def _slide_withheld(self, generation: Generation, lease: Lease, hold: Hold) -> None:
        """The engine holds output back to check it: a whole answer's hold slides along, so that it is paid when the
        client leaves. A stream's does not: it pays for a window more than was written."""
        if self._order.streamed or hold.asked > hold.answered:
            return
        reached = min(generation.withheld, hold.covered)
        if hold.runs_low(reached, lease.window_tokens, self._max_tokens * self._order.choices):
            hold.progress(reached, 0)

    async def _prepare_in_turn(self) -> Generation:
        """Prepares the prompt once its account has few enough under way; what a refusal cost is charged to it."""
        account_id = self._entry.principal.account_id
        turn = self._preparations.enter(account_id, self._wakeup.set)
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
        order = self._order
        generation = await self._inference.prepare(
            order.request,
            self._wakeup.set,
            request_id=order.request_id,
            account_id=self._entry.principal.account_id,
            seconds_left=order.deadline - self._clock.monotonic(),
        )
        self._generation = generation
        if self._error is not None:  # ended while a large request was handed over
            raise self._error
        return generation

    async def _reserve(self, prepared: inference_pb2.Prepared) -> tuple[QuotaLink, Hold, int]:
        """Admits the request once, however often it is prepared. The number is output tokens per choice."""
        if self._prepared is not None and self._link is not None and self._hold is not None:
            if prepared.prompt_tokens > self._prepared.prompt_tokens:
                log.warning("prompt_counted_differently", request_id=self._order.request_id)
                raise Unavailable(Service.INFERENCE)
            return self._link, self._hold, min(self._max_tokens, prepared.max_tokens)
        link, hold = self._quota.hold(self._entry.principal.account_id, self._wakeup.set)
        self._link, self._hold = link, hold
        with self._trace.child("reserve") as span:
            hold.reserve(self._reservation(prepared), self._trace, span.traceparent)
            await self._reserved(hold)
        if hold.refused is not None:
            raise self._refusal(hold, to_refused(hold.refused), hold.refused.detail)
        assert hold.reserved is not None
        self._prepared, self._max_tokens = prepared, hold.reserved.max_tokens
        return link, hold, self._max_tokens

    async def _reserved(self, hold: Hold) -> None:
        try:
            async with asyncio.timeout(self._timings.reserve_timeout):
                while hold.reserved is None and hold.refused is None:
                    await self._wait()
        except TimeoutError:
            # Ending the request queues a release, so a late reservation stays dead.
            raise Unavailable(Service.QUOTA) from None

    def _reservation(self, prepared: inference_pb2.Prepared) -> quota_pb2.Reserve:
        principal, order = self._entry.principal, self._order
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
        principal = self._entry.principal
        if refused.reason is Reason.RATE_LIMITED:
            self._recent_refusals.full(principal, hold.sent_at, refused)
            self._recent_refusals.denied(principal)
        elif refused.reason in DENIALS:
            self._recent_refusals.denied(principal)
        else:
            request_id = self._order.request_id
            log.error("reserve_refused", reason=f"REASON_{refused.reason}", detail=detail, request_id=request_id)
        return refused

    async def _wait(self) -> None:
        """Until something changed. Raises what ended the request from outside."""
        if self._error is None:
            await self._wakeup.wait()
        if self._error is not None:
            raise self._error


def _failure(generation: Generation) -> Failure:
    event = generation.events[0]
    return to_failure(event) if isinstance(event, inference_pb2.Failed) else Unavailable(Service.INFERENCE)
