"""One edge worker's stream: operations in, outcomes out, batched by whatever queued meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from muhgpt.quota.v1 import quota_pb2 as pb
from servicekit.errors import DatabaseUnavailable
from servicekit.observability import tracing
from servicekit.observability.logging import get_logger
from services.quota.domain import errors
from services.quota.domain.outcomes import Confirmed, Outcome, Reason, Refused, Settled
from services.quota.domain.pricing import PriceBook
from services.quota.domain.reserve import WINDOW_TOKENS
from services.quota.domain.store import Store
from services.quota.messages import printable, to_message, to_operation
from services.quota.metrics import LATE_CONFIRMATIONS, UNCOLLECTED, outcomes
from services.quota.running.group_commit import Writer
from services.quota.running.guard import Guard

log = get_logger(__name__)

HELLO_TIMEOUT = 10.0  # seconds
# What this version understands beyond the first one, in the Welcome (quota.proto).
FEATURES = ("confirm", "prompt_slide", "produced")
LOSSES_TOO_HIGH = "losses_too_high"  # listed by edges that know this refusal
MAX_UNSENT = 8_192  # outcomes; of an edge that does not read them no more operations are taken


class EdgeSession:
    """Reads and writes one stream. What was submitted is finished even when the stream breaks; the edge asks again."""

    def __init__(
        self, store: Store, writer: Writer, prices: PriceBook, guard: Guard, *, lease: float, heartbeat: float
    ) -> None:
        self._store = store
        self._writer = writer
        self._prices = prices
        self._guard = guard
        self._lease = lease
        self._heartbeat = heartbeat
        self._outcomes = pb.SessionResponse()
        self._control: list[pb.SessionResponse] = []
        self._wake = asyncio.Event()
        self._sent = asyncio.Event()
        self._session_id = b""
        self._edge_name = ""
        self._features: frozenset[str] = frozenset()  # of the edge

    async def run(self, requests: AsyncIterator[Any], context: Any, draining: asyncio.Event) -> None:
        """Serves the stream until the edge ends it. Raises HelloExpected, SessionMalformed, DatabaseUnavailable."""
        await self._welcome(requests, context)
        helpers = [asyncio.create_task(self._send(context)), asyncio.create_task(self._tell_draining(draining))]
        try:
            async for request in requests:
                await self._take(request)
                while len(self._outcomes.outcomes.outcomes) > MAX_UNSENT:
                    self._sent.clear()
                    await self._sent.wait()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _welcome(self, requests: AsyncIterator[Any], context: Any) -> None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                first = await anext(requests)
        except (StopAsyncIteration, TimeoutError):
            raise errors.HelloExpected("a session begins with hello") from None
        if first.WhichOneof("message") != "hello":
            raise errors.HelloExpected("a session begins with hello")
        if len(first.hello.session_id) != 16:
            raise errors.SessionMalformed("session_id is not 16 bytes")
        self._session_id, self._edge_name = first.hello.session_id, printable(first.hello.edge_name)[:200]
        self._features = frozenset(first.hello.features)
        await self._store.renew(self._session_id, self._edge_name, self._lease)
        answer = pb.SessionResponse()
        answer.welcome.lease.FromMicroseconds(round(self._lease * 1e6))
        answer.welcome.heartbeat_interval.FromMicroseconds(round(self._heartbeat * 1e6))
        answer.welcome.window_tokens = WINDOW_TOKENS
        answer.welcome.features.extend(FEATURES)
        await context.write(answer)

    async def _take(self, request: pb.SessionRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "operations":
            for message in request.operations.operations:
                self._submit(message)
        elif kind == "heartbeat":
            await self._renew(request.heartbeat.number)

    def _submit(self, message: pb.Operation) -> None:
        hold_id, kind = message.hold_id, message.WhichOneof("operation")
        span = tracing.resume(f"quota {kind}", message.traceparent)
        operation = to_operation(message, self._session_id, self._prices, self._guard)
        if isinstance(operation, Refused):
            self._answer(hold_id, kind, operation, span)
            return
        self._writer.submit(operation, lambda outcome: self._answer(hold_id, kind, outcome, span))

    def _answer(self, hold_id: bytes, kind: str | None, outcome: Outcome, span: tracing.Span) -> None:
        name = _name(outcome)
        outcomes(kind, name).inc()
        if isinstance(outcome, Settled) and outcome.uncollected:
            UNCOLLECTED.inc(outcome.uncollected)
        elif isinstance(outcome, Confirmed) and outcome.refunded:
            LATE_CONFIRMATIONS.inc()
        elif isinstance(outcome, Refused) and outcome.reason is Reason.LOSSES_TOO_HIGH:
            outcome = self._known_to_edge(outcome)
        span.end(name if isinstance(outcome, Refused) else "")
        self._outcomes.outcomes.outcomes.append(to_message(hold_id, outcome))
        self._wake.set()

    def _known_to_edge(self, refused: Refused) -> Refused:
        return refused if LOSSES_TOO_HIGH in self._features else replace(refused, reason=Reason.RATE_LIMITED)

    async def _renew(self, number: int) -> None:
        """An edge counts its lease from the last answered heartbeat, so only one that renewed the lease is answered."""
        try:
            await self._store.renew(self._session_id, self._edge_name, self._lease)
        except DatabaseUnavailable:
            return
        self._tell(pb.SessionResponse(heartbeat=pb.SessionHeartbeat(number=number)))

    async def _tell_draining(self, draining: asyncio.Event) -> None:
        await draining.wait()
        self._tell(pb.SessionResponse(draining=pb.SessionDraining()))

    def _tell(self, response: pb.SessionResponse) -> None:
        self._control.append(response)
        self._wake.set()

    async def _send(self, context: Any) -> None:
        """The only writer of the stream: gRPC allows one write at a time."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            control, self._control = self._control, []
            for response in control:
                await context.write(response)
            if self._outcomes.outcomes.outcomes:
                response, self._outcomes = self._outcomes, pb.SessionResponse()
                await context.write(response)
            self._sent.set()


def _name(outcome: Outcome) -> str:
    return outcome.reason.value if isinstance(outcome, Refused) else type(outcome).__name__.lower()
