"""One generation's life: prepared → running → finished, in a task of its own so that its failure stops nobody else."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from servicekit.clock import Clock
from servicekit.errors import DomainError
from servicekit.observability import tracing
from servicekit.observability.logging import get_logger
from services.inference import metrics
from services.inference.domain.engine import Delta, Failed, Finished, FinishReason, Prompt, Usage, Withheld
from services.inference.domain.errors import DeadlineExceeded, Defect, EngineUnavailable
from services.inference.domain.outbox import Lane
from services.inference.domain.registry import Target

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request that was checked and counted: what generating it takes."""

    target: Target
    prompt: Prompt
    choices: int


@dataclass(frozen=True, slots=True)
class Order:
    """What a generation is asked to be. `deadline` is in seconds from now; `prepare` gives the request its prompt."""

    request_id: str
    account_id: str
    deadline: float
    prepare: Callable[[], Awaitable[PreparedRequest]]
    traceparent: str = ""  # the span that has it prepared; empty: not traced


class _Ending(enum.Enum):
    CANCEL = "cancelled"
    DROP = "dropped"
    CLOSE = "closed"


class Generation:
    """Runs an order and says what happens through its lane; exactly one terminal event, none when dropped or closed."""

    def __init__(self, order: Order, lane: Lane, clock: Clock) -> None:
        self._order = order
        self._lane = lane
        self._clock = clock
        self._go: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._implied = False
        self._generate_below = ""  # the traceparent that came with go
        self._ending: _Ending | None = None
        self._entered = False
        self._model = ""
        self._prompt_tokens = 0
        self._estimated = False
        self._tokens = 0
        self._open: set[int] = set()  # choices that have not ended
        self.task = asyncio.create_task(self._run())

    def go(self, max_tokens: int, traceparent: str = "", *, implied: bool = False) -> None:
        """Starts generating, at most this many tokens a choice. A second go is ignored.

        `implied`: nobody asked for the limit; it is what the context leaves.
        """
        if not self._go.done():
            self._generate_below = traceparent
            self._implied = implied
            self._go.set_result(max_tokens)

    def cancel(self) -> None:
        """Stops at once; Finished tells the tokens generated so far."""
        self._end(_Ending.CANCEL)

    def drop(self) -> None:
        """Forgets it; nothing is said any more."""
        self._end(_Ending.DROP)

    def close(self) -> None:
        """Ends it because its session ended: nobody is there to be told."""
        self._end(_Ending.CLOSE)

    def _end(self, ending: _Ending) -> None:
        if self._ending is not None or self.task.done():
            return
        self._ending = ending
        if self._entered:  # a task cancelled before its first step would never run, and never say its end
            self.task.cancel()

    async def _run(self) -> None:
        self._entered = True
        try:
            if self._ending is not None:
                raise asyncio.CancelledError
            async with asyncio.timeout(self._order.deadline):
                await self._live()
            self._count("finished")
        except asyncio.CancelledError:
            self._stopped()
        except TimeoutError:
            self._fail(DeadlineExceeded("the request's time was over before its answer was complete"))
        except DomainError as error:
            self._fail(error)
        except Exception:
            log.exception("generation_failed", request_id=self._order.request_id, model=self._model)
            self._fail(Defect("a defect of the inference service; its log has the details"))

    async def _live(self) -> None:
        with tracing.resume("inference prepare", self._order.traceparent):
            prepared = await self._order.prepare()
        target, said = prepared.target, prepared.prompt.prepared
        self._model = target.card.id
        self._prompt_tokens = said.prompt_tokens
        self._estimated = said.estimated
        self._lane.put(said)
        max_tokens = min(await self._go, said.max_tokens)
        with tracing.resume("inference generate", self._generate_below) as span:
            usage = await self._run_in_slot(prepared, max_tokens)
            span.set({"muhgpt.model": self._model, "muhgpt.output_tokens": self._tokens})
        self._tokens = min(self._tokens, usage.output_tokens)
        details = usage.cached_tokens, usage.reasoning_tokens
        self._lane.put(Finished(usage.prompt_tokens, self._tokens, usage.estimated, *details))

    async def _run_in_slot(self, prepared: PreparedRequest, max_tokens: int) -> Usage:
        started = self._clock.monotonic()
        async with prepared.target.admission.slot(self._order.account_id, prepared.choices):
            metrics.QUEUE_WAIT.labels(self._model).observe(self._clock.monotonic() - started)
            metrics.PROMPT_TOKENS.labels(self._model).inc(self._prompt_tokens)
            self._open = set(range(prepared.choices))
            return await self._generate(prepared.prompt, max_tokens, started)

    async def _generate(self, prompt: Prompt, max_tokens: int, started: float) -> Usage:
        waiting_for_first, first, said_first = True, 0.0, 0
        async with aclosing(prompt.generate(max_tokens, implied=self._implied)) as steps:
            async for step in steps:
                if isinstance(step, Usage):
                    self._observe_speed(self._tokens - said_first, self._clock.monotonic() - first)
                    return step
                if isinstance(step, Withheld):
                    self._lane.put(step)
                    await self._lane.room()
                    continue
                for delta in step:
                    self._say(delta)
                if waiting_for_first:
                    waiting_for_first, first, said_first = False, self._clock.monotonic(), self._tokens
                    metrics.FIRST_TOKEN.labels(self._model).observe(first - started)
                await self._lane.room()
        raise EngineUnavailable("the engine's answer ended without its token counts")

    def _observe_speed(self, tokens: int, seconds: float) -> None:
        """`tokens` came after the first step, which tells nothing of speed, nor does an answer of one step."""
        if tokens > 0 and seconds > 0:
            metrics.SPEED.labels(self._model).observe(tokens / seconds)

    def _say(self, delta: Delta) -> None:
        self._tokens += delta.tokens
        if delta.finish_reason is not None:
            self._open.discard(delta.choice)
        self._lane.put(delta)

    def _stopped(self) -> None:
        """The task was cancelled: by the edge, which wants the count, or because nobody listens any more."""
        ending = self._ending or _Ending.CLOSE
        if ending is _Ending.CANCEL:
            for choice in sorted(self._open):
                self._lane.put(Delta(choice, "", 0, finish_reason=FinishReason.CANCELLED))
            self._lane.put(Finished(self._prompt_tokens, self._tokens, self._estimated))
        self._count(ending.value)

    def _fail(self, error: DomainError) -> None:
        if isinstance(error, EngineUnavailable):  # what the client is not told, the operator must find
            log.warning(
                "engine_unavailable", request_id=self._order.request_id, model=self._model, detail=error.message
            )
        self._lane.put(Failed(error, self._tokens))
        self._count(error.reason.lower())

    def _count(self, outcome: str) -> None:
        model = self._model or "unknown"
        metrics.GENERATIONS.labels(model, outcome).inc()
        metrics.OUTPUT_TOKENS.labels(model).inc(self._tokens)
        log.debug("generation_ended", request_id=self._order.request_id, model=model, outcome=outcome)
