"""One generation as a state machine: takes commands and output, puts out events. Knows no task, timer or socket.

What waits for prompt, slots and engine on its behalf is services/inference/generation_task.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from servicekit.clock import Clock
from servicekit.errors import DomainError
from servicekit.observability.logging import get_logger
from servicekit.state_table import move
from services.inference.domain import engine
from services.inference.domain.engine import Delta, Failed, Finished, FinishReason, Prompt, Source, Usage, Withheld
from services.inference.domain.errors import EngineUnavailable
from services.inference.domain.generation_state import TRANSITIONS, Event, State
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


class Outlet(Protocol):
    """Where a generation's events go; it holds the sources back while they cannot leave."""

    def put(self, event: engine.Event) -> None:
        """Sends one event, without waiting."""
        ...

    def attach(self, source: Source) -> None:
        """See Sink."""
        ...

    def detach(self, source: Source) -> None:
        """See Sink."""
        ...


class Meter(Protocol):
    """What is measured of generations, by model."""

    def granted(self, model: str, waited: float, prompt_tokens: int) -> None:
        """It got its slots, after so many seconds."""
        ...

    def first_output(self, model: str, seconds: float) -> None:
        """Its first output came so many seconds after go."""
        ...

    def speed(self, model: str, tokens_per_second: float) -> None:
        """How fast it came, from the first output to the end."""
        ...

    def ended(self, model: str, outcome: str, output_tokens: int) -> None:
        """It ended; `outcome` is a fixed word."""
        ...


class Generation:
    """One request's answer. Implements Sink. Exactly one terminal event, none once it was dropped or closed."""

    def __init__(self, request_id: str, outlet: Outlet, clock: Clock, meter: Meter) -> None:
        self.state = State.PREPARING
        self.model = ""  # known once it is prepared
        self.output_tokens = 0
        self._request_id = request_id
        self._outlet = outlet
        self._clock = clock
        self._meter = meter
        self._prompt_tokens = 0
        self._estimated = False
        self._choices = 0
        self._open: set[int] = set()  # choices that have not ended
        self._queued = 0.0  # when it began to wait for slots, monotonic
        self._first: tuple[float, int] | None = None  # when the first output came, and how many tokens it was

    def prepare(self, model: str, prepared: engine.Prepared, choices: int) -> None:
        """Its prompt is counted."""
        if not self._moves(Event.PREPARED):
            return
        self.model, self._choices = model, choices
        self._prompt_tokens, self._estimated = prepared.prompt_tokens, prepared.estimated
        self._outlet.put(prepared)

    def go(self) -> None:
        """The edge wants it generated."""
        self._moves(Event.GO)

    def grant(self) -> None:
        """It has the engine's slots."""
        if not self._moves(Event.GRANTED):
            return
        self._open = set(range(self._choices))
        self._meter.granted(self.model, self._clock.monotonic() - self._queued, self._prompt_tokens)

    def on_deltas(self, deltas: Sequence[Delta]) -> None:
        """See Sink."""
        if not self._takes_output():
            return
        for delta in deltas:
            self.output_tokens += delta.tokens
            if delta.finish_reason is not None:
                self._open.discard(delta.choice)
            self._outlet.put(delta)
        if self._first is None:
            now = self._clock.monotonic()
            self._first = now, self.output_tokens
            self._meter.first_output(self.model, now - self._queued)

    def on_withheld(self, output_tokens: int) -> None:
        """See Sink."""
        if self._takes_output():
            self._outlet.put(Withheld(output_tokens))

    def attach(self, source: Source) -> None:
        """See Sink."""
        self._outlet.attach(source)

    def detach(self, source: Source) -> None:
        """See Sink."""
        self._outlet.detach(source)

    def finish(self, usage: Usage) -> None:
        """All choices have ended."""
        if not self._moves(Event.FINISH):
            return
        self._measure_speed()
        self.output_tokens = min(self.output_tokens, usage.output_tokens)
        details = usage.cached_tokens, usage.reasoning_tokens
        self._outlet.put(Finished(usage.prompt_tokens, self.output_tokens, usage.estimated, *details))
        self._count("finished")

    def fail(self, error: DomainError) -> None:
        """It ended with an error."""
        if not self._moves(Event.FAIL):
            return
        if isinstance(error, EngineUnavailable):  # what the client is not told, the operator must find
            log.warning("engine_unavailable", request_id=self._request_id, model=self.model, detail=error.message)
        self._outlet.put(Failed(error, self.output_tokens))
        self._count(error.reason.lower())

    def cancel(self) -> None:
        """The edge wants no more: Finished reports the tokens generated so far."""
        if not self._moves(Event.CANCEL):
            return
        for choice in sorted(self._open):
            self._outlet.put(Delta(choice, "", 0, finish_reason=FinishReason.CANCELLED))
        self._outlet.put(Finished(self._prompt_tokens, self.output_tokens, self._estimated))
        self._count("cancelled")

    def drop(self) -> None:
        """The edge wants no more events of it."""
        self._leave(Event.DROP, "dropped")

    def close(self) -> None:
        """Its session ended: nothing reads its events."""
        self._leave(Event.CLOSE, "closed")

    def _leave(self, event: Event, outcome: str) -> None:
        if self._moves(event):
            self._count(outcome)

    def _moves(self, event: Event) -> bool:
        """Makes a move. False: it has ended, and what was under way then changes nothing. Raises IllegalMove."""
        if self.state is State.ENDED:
            return False
        before, self.state = self.state, move(TRANSITIONS, self.state, event)
        if self.state is State.QUEUED and before is not State.QUEUED:
            self._queued = self._clock.monotonic()
        return True

    def _takes_output(self) -> bool:
        """Asked for each token, the table only where none should come."""
        return self.state is State.GENERATING or self._moves(Event.OUTPUT)

    def _measure_speed(self) -> None:
        """Of what came after the first output, which says nothing of speed, nor does an answer of one step."""
        if self._first is None:
            return
        (since, tokens), now = self._first, self._clock.monotonic()
        if self.output_tokens > tokens and now > since:
            self._meter.speed(self.model, (self.output_tokens - tokens) / (now - since))

    def _count(self, outcome: str) -> None:
        self._meter.ended(self.model or "unknown", outcome, self.output_tokens)
        log.debug("generation_ended", request_id=self._request_id, model=self.model or "unknown", outcome=outcome)
