"""One running answer: delivers what the hold covers, asks it to slide ahead, and ends it exactly once (G2, G3, G4).

Ending is a plain function that never waits, so no cancellation can come between stopping the engine and handing the
charge to the quota stream's own task.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from muhgpt.inference.v1 import inference_pb2
from servicekit.clock import Clock
from servicekit.observability import tracing
from servicekit.observability.logging import get_logger
from services.edge.peers.auth.principals import Principal
from services.edge.peers.errors import Failure, Service, Unavailable
from services.edge.peers.inference.from_inference import to_failure
from services.edge.peers.inference.generation import Generation
from services.edge.peers.quota.from_quota import to_rate_window
from services.edge.peers.quota.hold import Hold
from services.edge.peers.quota.rate_window import RateWindow
from services.edge.peers.quota.session import QuotaLink
from services.edge.peers.streaming.wakeup import Wakeup
from services.edge.peers.timings import DEFAULT_TIMINGS, Timings
from services.edge.serving import metrics
from services.edge.serving.answer import Batch, Delta, Usage
from services.edge.serving.convert import to_delta, with_details
from services.edge.serving.errors import DeadlineExceeded
from services.edge.serving.first_progress import FirstProgress
from services.edge.serving.open_answers import Running

log = get_logger(__name__)


class Trust(Protocol):
    """Whether revocations are known to reach this worker."""

    @property
    def trusted(self) -> bool: ...


class LiveAnswer:
    """An Answer (answer.py). Made when the edge takes the request; opening.py brings it to its first output."""

    def __init__(
        self,
        *,
        principal: Principal,
        digest: bytes,
        model: str,
        choices: int,
        streamed: bool,
        request_id: str,
        deadline: float,
        running: Running,
        trust: Trust,
        clock: Clock,
        first_progress: FirstProgress | None = None,
        timings: Timings = DEFAULT_TIMINGS,
    ) -> None:
        """`deadline` is monotonic seconds. Raises TooManyAnswers when the account has too many open."""
        self.principal = principal
        self.digest = digest
        self.model = model
        self.max_tokens = 0
        self.window = RateWindow(0, 0, 0.0)
        self.wakeup = Wakeup()
        self.generation: Generation | None = None
        self.hold: Hold | None = None
        self.trace = tracing.current.get()  # the request's span
        self.generating = tracing.NONE
        self.error: Failure | None = None
        self.delivered = 0  # output tokens, all choices, handed to the HTTP side
        self._written = 0  # of these, what it has written to the client
        self._streamed = streamed
        self._link: QuotaLink | None = None
        self._choices = choices
        self._open = set(range(choices))
        self._prompt_tokens = 0
        self._tail: list[Delta] = []
        self._usage: Usage | None = None
        self._done = False  # the last batch was given, or the failure raised
        self._left = False
        self._request_id = request_id
        self._running = running
        self._trust = trust
        self._timings = timings
        self._clock = clock
        self._first_progress = first_progress or FirstProgress(clock)
        self._report_due = False  # quota has to hear of the first tokens
        running.enter(self)
        seconds = max(0.0, deadline - clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(seconds, self._end_late)

    # Opening (opening.py)

    def admitted(self, link: QuotaLink, prepared: inference_pb2.Prepared) -> None:
        """The hold was reserved on this link for a prompt so counted."""
        self._link = link
        self._prompt_tokens = prepared.prompt_tokens
        reserved = self.hold.reserved if self.hold else None
        if reserved is not None:
            self.max_tokens = reserved.max_tokens
            self.window = to_rate_window(reserved.window)

    # Delivering

    @property
    def charge_id(self) -> str:
        """The hold's id in hexadecimal, as receipts tell it; empty before there is one."""
        return self.hold.id.hex() if self.hold is not None else ""

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        """The next batch. Raises a Failure when the answer failed, StopAsyncIteration after the last batch."""
        if self._streamed:  # who asks for the next has written the one before
            self._written = self.delivered
            self._report_first()
        while True:
            if self.error is not None and not self._done:
                self._done = True
                raise self.error
            if self._done or (self._left and self._usage is None):
                raise StopAsyncIteration
            if self._usage is not None:
                return await self._last_batch()
            self._check_leases()
            deltas = self._take()
            if deltas:
                return Batch(deltas)
            if self.error is None and self._usage is None:
                await self.wakeup.wait()

    def _check_leases(self) -> None:
        """Nothing is delivered past quota's lease or auth's trust, even when this process stood still (G3, G6)."""
        if self._link is None or self.hold is None:
            return
        if self.hold.lost or self._clock.monotonic() >= self._link.lapses_at:
            self.end(Unavailable(Service.QUOTA))
        elif not self._trust.trusted:
            self.end(Unavailable(Service.AUTH))

    def _take(self) -> list[Delta]:
        """What the engine sent and the hold covers, in order. Reaching the end or a failure starts the settlement."""
        generation, hold, deltas = self.generation, self.hold, list[Delta]()
        if generation is None or hold is None or self.error is not None:
            return deltas
        events = generation.events
        while events:
            event = events[0]
            if isinstance(event, inference_pb2.Delta):
                if event.tokens and self.delivered + event.tokens > hold.covered:
                    if not deltas and not self._ask_for(event.tokens, hold):
                        self._cut(hold)
                    break
                events.popleft()
                generation.taken(event)
                deltas.append(self._deliver(event))
            elif isinstance(event, inference_pb2.Finished):
                if not (deltas and self._streamed):  # what a stream delivers is written before it is charged
                    self._finish(event, hold)
                break
            else:
                if not deltas:
                    self.end(to_failure(event))
                break
        if self._usage is None and self.error is None:
            self._slide(hold)
        return deltas

    def _deliver(self, event: inference_pb2.Delta) -> Delta:
        if self._streamed and event.tokens and not self.delivered:
            self._first_progress.expect(self)
        self.delivered += event.tokens
        delta = to_delta(event)
        if delta.finish_reason is not None:
            self._open.discard(event.choice)
        return delta

    def report_first(self) -> None:
        """The first tokens are a moment old: quota hears of them, so that they are paid when this process dies."""
        self._report_due = True
        self._report_first()

    def _report_first(self) -> None:
        if self._report_due and self._written and not self._left and self.hold is not None:
            self._report_due = False
            if not self.hold.asked:
                self.hold.progress(self._written, self._written)

    def _slide(self, hold: Hold) -> None:
        """Asks ahead of need, so that a stream whose account can pay never stands still."""
        window = self._link.window_tokens if self._link else 0
        if hold.covered - self.delivered <= window // 2 and hold.covered < self.max_tokens * self._choices:
            hold.progress(self._reached(), self._written)

    def slide_withheld(self) -> None:
        """The engine holds output back to check it: a whole answer's hold slides along, so that it is paid when the
        client leaves. A stream's does not: it pays for a window more than was written."""
        hold, window = self.hold, self._link.window_tokens if self._link else 0
        if self._streamed or hold is None or self.generation is None or hold.asked > hold.answered:
            return
        reached = min(self.generation.withheld, hold.covered)
        if hold.covered - reached <= window // 2 and hold.covered < self.max_tokens * self._choices:
            hold.progress(reached, 0)

    def _reached(self) -> int:
        """What the hold slides ahead of. For a stream it is what was written, so that a crash of this process cannot
        leave more than one window between what the client has and what it pays."""
        return self._written if self._streamed else self.delivered

    def _ask_for(self, tokens: int, hold: Hold) -> bool:
        """The next delta is not covered: asks for more, or waits for the answer. False: no more can be had.

        A delta that is larger than the whole window (an upstream may send such) is claimed a window at a time, since
        the hold never covers more than one window ahead of what was told.
        """
        if hold.asked > hold.answered:
            return True
        window = self._link.window_tokens if self._link else 0
        reached = self._reached() if tokens <= window else hold.covered
        if reached <= hold.asked:
            return False
        hold.progress(reached, self._written)
        return True

    # Ending

    def _cut(self, hold: Hold) -> None:
        """The money is used up: ends all choices by length, to the token (G2)."""
        self._tail = [Delta(choice, "", finish_reason="length") for choice in sorted(self._open)]
        log.info("answer_cut", request_id=self._request_id, output_tokens=self.delivered)
        self._charge(self.delivered, 0)
        metrics.OUTCOMES.labels("cut").inc()

    def _finish(self, finished: inference_pb2.Finished, hold: Hold) -> None:
        """The engine ended. Charged is its own count, which never passes what was covered.

        A prompt that counts higher than it was reserved is held first, and what is not free then is never collected.
        """
        if finished.output_tokens > hold.covered:
            log.warning("output_beyond_hold", request_id=self._request_id, output_tokens=finished.output_tokens)
        prompt = 0
        if finished.prompt_tokens > 0 and finished.prompt_tokens != self._prompt_tokens:
            if finished.prompt_tokens > self._prompt_tokens:
                hold.slide_prompt(finished.prompt_tokens)
            prompt = self._prompt_tokens = finished.prompt_tokens
        self._charge(min(finished.output_tokens, hold.covered), prompt, finished.estimated)
        self._usage = with_details(self._usage, finished)
        metrics.OUTCOMES.labels("finished").inc()

    def _charge(self, output_tokens: int, prompt_tokens: int, estimated: bool | None = None) -> None:
        self._usage = Usage(self._prompt_tokens, output_tokens)
        self._leave(output_tokens, prompt_tokens, unconfirmed=not self._streamed, estimated=estimated)

    async def _last_batch(self) -> Batch:
        """Waits for the charge, so that whoever reads usage next sees it; not for ever (docs/money.md)."""
        hold = self.hold
        started = self._clock.monotonic()
        if hold is not None and not hold.charged:
            try:
                async with asyncio.timeout(self._timings.settle_timeout):
                    while not hold.charged:
                        await self.wakeup.wait()
            except TimeoutError:
                metrics.SETTLEMENTS_LATE.inc()
                log.warning("settlement_late", request_id=self._request_id)
        metrics.SETTLE_WAIT.observe(self._clock.monotonic() - started)
        self._done = True
        return Batch(self._tail, self._usage, None if self._streamed else self._confirm)

    def end(self, error: Failure) -> None:
        """Ends with an error: the engine stops, what was delivered is charged. After the end of the output: nothing.

        An answer that was to be sent whole has delivered nothing. What an engine held back and then gave up (a forced
        call that failed its check, which a client can bring about) is in the loss book.
        """
        if self._left:
            return
        self.error = error
        given_up = self.generation is not None and self.generation.withheld > 0 and self.generation.failed
        self._leave(self.delivered if self._streamed else 0, 0, abandoned=given_up)
        self._let_go()
        metrics.OUTCOMES.labels("failed").inc()

    async def aclose(self) -> None:
        """The client is gone: it pays for what was generated within its hold (G4). Never raises."""
        self.abandon()

    def abandon(self) -> None:
        """aclose() without an await; what opening.py calls when it is cancelled."""
        if self._left:
            if not self._done:  # charged, and nobody will write it: the client left meanwhile
                self._confirm()
            return
        received = self.generation.received + self.generation.withheld if self.generation else 0
        covered = self.hold.covered if self.hold else 0
        worked = self.generation is not None and self.generation.go_written
        self._leave(min(received, covered), 0, abandoned=worked)
        self._let_go()
        metrics.OUTCOMES.labels("abandoned").inc()

    def _end_late(self) -> None:
        self.end(DeadlineExceeded())

    def _let_go(self) -> None:
        """Nothing more will be taken: a hold that waits for quota must not keep the answer's output in memory."""
        if self.generation is not None:
            self.generation.events.clear()
        if self.hold is not None:
            self.hold.forget_request()
        self.wakeup.set()

    def _confirm(self) -> None:
        if self.hold is not None:
            self.hold.confirm()

    def _leave(
        self,
        output_tokens: int,
        prompt_tokens: int,
        *,
        unconfirmed: bool = False,
        estimated: bool | None = None,
        abandoned: bool = False,
    ) -> None:
        """Stops the engine and hands the charge to the quota stream's task; happens once, whatever comes first."""
        self._left = True
        self._timer.cancel()
        self._running.leave(self)
        self.generating.end(self.error.name if self.error else "")
        if self.generation is not None:
            self.generation.leave()
        if self.hold is not None:
            self.hold.settle(
                output_tokens, prompt_tokens, unconfirmed=unconfirmed, estimated=estimated, abandoned=abandoned
            )
        if output_tokens:
            metrics.PROMPT_TOKENS.inc(self._prompt_tokens)
            metrics.OUTPUT_TOKENS.inc(output_tokens)
