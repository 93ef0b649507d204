"""The task of one generation: waits for its prompt, for go, for slots and for the engine. None of it for each token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from servicekit.clock import Clock
from servicekit.errors import DomainError
from servicekit.observability import tracing
from servicekit.observability.logging import get_logger
from servicekit.timer_wheel import TimerWheel
from services.inference.domain.engine import Usage
from services.inference.domain.errors import DeadlineExceeded, Defect
from services.inference.domain.generation import Generation, Order, Outlet, PreparedRequest
from services.inference.domain.generation_state import State
from services.inference.metrics import GENERATION_METER

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Go:
    """At most this many tokens a choice; `implied`: nobody asked for that limit, it is what the context leaves."""

    max_tokens: int
    implied: bool = False
    traceparent: str = ""


class GenerationTask:
    """Runs an order, so that its failure stops no other."""

    def __init__(self, order: Order, outlet: Outlet, clock: Clock, timers: TimerWheel) -> None:
        loop = asyncio.get_running_loop()
        self._order = order
        self._generation = Generation(order.request_id, outlet, clock, GENERATION_METER)
        self._going: asyncio.Future[Go] = loop.create_future()
        self._deadline = timers.start(order.deadline, self._expire)
        self.task = loop.create_task(self._run())
        self.task.add_done_callback(lambda _: self._deadline.cancel())  # one cancelled before its first step never runs

    def go(self, go: Go) -> None:
        """Starts generating. A second go is ignored."""
        if not self._going.done():
            self._generation.go()
            self._going.set_result(go)

    def cancel(self) -> None:
        """Stops at once; Finished reports the tokens generated so far."""
        self._end(self._generation.cancel)

    def drop(self) -> None:
        """Stops at once, without another event."""
        self._end(self._generation.drop)

    def close(self) -> None:
        """Stops at once: its session ended."""
        self._end(self._generation.close)

    def _expire(self) -> None:
        error = DeadlineExceeded("the request's time was over before its answer was complete")
        self._end(partial(self._generation.fail, error))

    def _end(self, end: Callable[[], None]) -> None:
        """Once, so that no second end interrupts what cleans up after the first."""
        if self._generation.state is not State.ENDED:
            end()
            self.task.cancel()

    async def _run(self) -> None:
        try:
            usage = await self._live()
            self._generation.finish(usage)
        except asyncio.CancelledError:
            self._generation.close()  # no move when its end was what cancelled the task
        except DomainError as error:
            self._generation.fail(error)
        except Exception:
            model = self._generation.model
            log.exception("generation_failed", request_id=self._order.request_id, model=model)
            self._generation.fail(Defect("an internal error of the inference service; its log has the details"))

    async def _live(self) -> Usage:
        with tracing.resume("inference prepare", self._order.traceparent):
            prepared = await self._order.prepare()
        self._generation.prepare(prepared.target.card.id, prepared.prompt.prepared, prepared.choices)
        go = await self._going
        with tracing.resume("inference generate", go.traceparent) as span:
            usage = await self._generate(prepared, go)
            span.set({"muhgpt.model": self._generation.model, "muhgpt.output_tokens": self._generation.output_tokens})
        return usage

    async def _generate(self, prepared: PreparedRequest, go: Go) -> Usage:
        max_tokens = min(go.max_tokens, prepared.prompt.prepared.max_tokens)
        async with prepared.target.admission.slot(self._order.account_id, prepared.choices):
            self._generation.grant()
            return await prepared.prompt.generate(max_tokens, self._generation, implied=go.implied)
