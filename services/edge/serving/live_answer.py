"""One running answer: delivers what the hold covers, asks it to slide ahead, and ends it exactly once (G2, G3, G4).

It is pushed, not pulled: the peers' streams call look(), a plain function that hands what is due to the sink. Nothing
waits for an event but the peers' read loops; the request's own task waits for the end. The states: answer_state.py.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from muhgpt.inference.v1 import inference_pb2
from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from servicekit.state_table import move
from services.edge.peers.errors import Failure, Service, Unavailable
from services.edge.peers.inference.from_inference import to_failure
from services.edge.peers.streaming.wakeup import Wakeup
from services.edge.peers.timings import DEFAULT_TIMINGS, Timings
from services.edge.serving import metrics
from services.edge.serving.answer import Batch, Delta, Sink, Usage
from services.edge.serving.answer_state import TRANSITIONS, Event, State
from services.edge.serving.convert import to_delta, with_details
from services.edge.serving.ending import Charge, charge_of_failing, charge_of_leaving, end_at_peers, forget_output
from services.edge.serving.first_progress import FirstProgress
from services.edge.serving.open_answers import OpenRequest
from services.edge.serving.opening import Opened

log = get_logger(__name__)


class Trust(Protocol):
    """Whether revocations are known to reach this worker."""

    @property
    def trusted(self) -> bool: ...


class LiveAnswer:
    """An Answer (answer.py)."""

    def __init__(
        self,
        opened: Opened,
        request: OpenRequest,
        trust: Trust,
        clock: Clock,
        first_progress: FirstProgress,
        timings: Timings = DEFAULT_TIMINGS,
    ) -> None:
        """`opened` has its first output at hand; `request` is its entry among the open answers."""
        order = opened.order
        self.model = order.alias
        self.max_tokens = opened.max_tokens
        self.window = opened.window
        self.charge_id = opened.hold.id.hex()
        self.state = State.RUNNING
        self.generation = opened.generation
        self._hold = opened.hold
        self._lease = opened.lease
        self._prompt_tokens = opened.prompt_tokens
        self._span = opened.span
        self._request = request
        self._request_id = order.request_id
        self._streamed = order.streamed
        self._most = opened.max_tokens * order.choices  # output tokens, all choices
        self._open = set(range(order.choices))
        self._trust = trust
        self._clock = clock
        self._timings = timings
        self._first_progress = first_progress
        self._delivered = 0  # output tokens, all choices, handed to the sink
        self._written = 0  # of these, what the client was sent; none of an answer that is sent whole
        self._sink: Sink | None = None
        self._tail: list[Delta] = []
        self._usage: Usage | None = None
        self._error: Exception | None = None
        self._wakeup = Wakeup()
        request.concerns(self.end)
        opened.generation.report_to(self.look)
        opened.hold.report_to(self.look)

    # Delivering

    async def deliver(self, sink: Sink) -> Batch:
        """See Answer."""
        self._sink = sink
        sink.when_ready(self.look)
        self.look()
        while self.state is State.RUNNING and self._error is None:
            await self._wakeup.wait()
        if self._error is not None:
            raise self._error
        if self.state is not State.SETTLING:
            raise RuntimeError("the answer was closed while it was delivered")
        await self._until_charged()
        self._moved(Event.GIVE)
        batch = Batch(self._tail, self._usage, None if self._streamed else self._hold.confirm)
        self._let_go()
        return batch

    def look(self) -> None:
        """Something changed: output has come, the hold has slid, or the sink takes more. Never raises: it runs in the
        read loop of all answers, and a defect of this one's sink is raised by deliver()."""
        try:
            if self.state is State.RUNNING and self._sink is not None:
                self._check_leases()
                if self.state is State.RUNNING:
                    self._push(self._sink)
        except Exception as error:  # noqa: BLE001  (deliver() raises it)
            self._error, self._sink = error, None
        if self.state is not State.RUNNING or self._error is not None:
            self._wakeup.set()

    def _check_leases(self) -> None:
        """Nothing is delivered past quota's lease or auth's trust, even when this process stood still (G3, G6)."""
        if self._hold.lost or self._clock.monotonic() >= self._lease.lapses_at:
            self.end(Unavailable(Service.QUOTA))
        elif not self._trust.trusted:
            self.end(Unavailable(Service.AUTH))

    def _push(self, sink: Sink) -> None:
        """Hands on what the engine sent and the hold covers, in order. What a stream delivers is written before it is
        charged: the end is looked at after that."""
        deltas: list[Delta] = []
        if sink.ready:
            self._note_written()
            deltas = self._take()
        if deltas:
            sink.write(deltas)
            if sink.ready:
                self._note_written()
        waiting = self.generation.events
        event = waiting[0] if waiting else None
        if isinstance(event, inference_pb2.Finished):
            self._finish(event)
        elif isinstance(event, inference_pb2.Failed):
            self.end(to_failure(event))
        elif event is not None and sink.ready and not self._ask_for(event.tokens):
            self._cut()
        if self.state is State.RUNNING and self._hold.runs_low(self._delivered, self._lease.window_tokens, self._most):
            self._hold.progress(self._reached(), self._written)

    def _note_written(self) -> None:
        """What a client that does not read has not taken counts once it has: the hold slides no further ahead of it."""
        if self._streamed:
            self._written = self._delivered

    def _take(self) -> list[Delta]:
        """The deltas that the hold covers."""
        deltas: list[Delta] = []
        events, covered = self.generation.events, self._hold.covered
        while events:
            event = events[0]
            if not isinstance(event, inference_pb2.Delta):
                break
            tokens = event.tokens
            if tokens and self._delivered + tokens > covered:
                break
            self.generation.take()
            if tokens and not self._delivered and self._streamed:
                self._first_progress.expect(self)
            self._delivered += tokens
            delta = to_delta(event)
            if delta.finish_reason is not None:
                self._open.discard(delta.choice)
            deltas.append(delta)
        return deltas

    def report_first(self) -> None:
        """The first tokens are a moment old: quota hears of them, so that they are paid when this process dies."""
        if self.state is State.RUNNING and not self._hold.asked:
            self._hold.progress(self._written, self._written)

    def _reached(self) -> int:
        """What the hold slides ahead of. For a stream it is what was written, so that a crash of this process cannot
        leave more than one window between what the client has and what it pays."""
        return self._written if self._streamed else self._delivered

    def _ask_for(self, tokens: int) -> bool:
        """The next delta is not covered: asks for more, or waits for the answer. False: no more can be had.

        A delta that is larger than the whole window (an upstream may send such) is claimed a window at a time, since
        the hold never covers more than one window ahead of what was reported.
        """
        hold = self._hold
        if hold.asked > hold.answered:
            return True
        reached = self._reached() if tokens <= self._lease.window_tokens else hold.covered
        if reached <= hold.asked:
            return False
        hold.progress(reached, self._written)
        return True

    # Ending

    def _cut(self) -> None:
        """The money is used up: ends all choices by length, to the token (G2)."""
        if not self._moved(Event.CUT):
            return
        self._tail = [Delta(choice, "", finish_reason="length") for choice in sorted(self._open)]
        log.info("answer_cut", request_id=self._request_id, output_tokens=self._delivered)
        self._usage = Usage(self._prompt_tokens, self._delivered)
        self._leave(Charge(self._delivered, unconfirmed=not self._streamed))
        metrics.OUTCOMES.labels("cut").inc()

    def _finish(self, finished: inference_pb2.Finished) -> None:
        """The engine ended. Charged is its own count, which never passes what was covered.

        A prompt that counts higher than it was reserved is held first, and what is not free then is never collected.
        """
        if not self._moved(Event.FINISH):
            return
        hold = self._hold
        if finished.output_tokens > hold.covered:
            log.warning("output_beyond_hold", request_id=self._request_id, output_tokens=finished.output_tokens)
        prompt = 0
        if finished.prompt_tokens > 0 and finished.prompt_tokens != self._prompt_tokens:
            if finished.prompt_tokens > self._prompt_tokens:
                hold.slide_prompt(finished.prompt_tokens)
            prompt = self._prompt_tokens = finished.prompt_tokens
        output = min(finished.output_tokens, hold.covered)
        self._usage = with_details(Usage(self._prompt_tokens, output), finished)
        self._leave(Charge(output, prompt, unconfirmed=not self._streamed, estimated=finished.estimated))
        metrics.OUTCOMES.labels("finished").inc()

    async def _until_charged(self) -> None:
        """Waits for the charge, so that clients that read their usage next find it; not forever (docs/money.md)."""
        started = self._clock.monotonic()
        if not self._hold.charged:
            try:
                async with asyncio.timeout(self._timings.settle_timeout):
                    while not self._hold.charged:
                        await self._wakeup.wait()
            except TimeoutError:
                metrics.SETTLEMENTS_LATE.inc()
                log.warning("settlement_late", request_id=self._request_id)
        metrics.SETTLE_WAIT.observe(self._clock.monotonic() - started)

    def end(self, error: Failure) -> None:
        """Ends with an error: the engine stops, what was written is charged. After the end of the output: nothing.

        An answer that was to be sent whole has written nothing.
        """
        if not self._moved(Event.FAIL):
            return
        self._error = error
        self._leave(charge_of_failing(self.generation, self._written), error.name)
        self._let_go()
        metrics.OUTCOMES.labels("failed").inc()

    async def aclose(self) -> None:
        """The client is gone: it pays for what was generated within its hold (G4). Never raises."""
        before = self.state
        if not self._moved(Event.LEAVE):
            return
        if before is State.SETTLING:  # charged, and nobody will write it: the client left meanwhile
            self._hold.confirm()
        else:
            self._leave(charge_of_leaving(self.generation, self._hold))
            metrics.OUTCOMES.labels("abandoned").inc()
        self._let_go()

    def _leave(self, charge: Charge, error: str = "") -> None:
        """Stops the engine and hands the charge to the quota stream's task."""
        self._request.leave()
        self._span.end(error)
        end_at_peers(self.generation, self._hold, charge, self._prompt_tokens)

    def _let_go(self) -> None:
        self._sink = None
        forget_output(self.generation, self._hold)
        self.generation.report_to(_nothing)
        self._wakeup.set()

    def _moved(self, event: Event) -> bool:
        """Whether the event changed the state; most ends come second to another."""
        before, self.state = self.state, move(TRANSITIONS, self.state, event)
        return self.state is not before


def _nothing() -> None:
    """Whom nothing is reported to any more: an answer that is over is in no cycle of references."""
