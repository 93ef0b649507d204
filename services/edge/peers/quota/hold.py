"""One hold as the edge sees it: what was asked of quota, what it answered, and what must be asked again after a break.

Everything here is plain state: asking queues, answers are taken in, and nobody's cancellation can come between. A hold
stays in its link's table until quota acknowledged its end, whether or not the request that made it still exists.

The charge of a whole answer is unconfirmed until the answer has left this process. Then its hold is confirmed, or
settled again without that mark when the first settlement was not answered. The states: hold_state.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from muhgpt.quota.v1 import quota_pb2
from servicekit.observability import tracing
from servicekit.state_table import move
from services.edge.peers.quota.hold_state import (
    ACTIVE,
    AFTER_CHARGE,
    TRANSITIONS,
    UNANSWERED_END,
    UNANSWERED_RESERVATION,
    Event,
    State,
)

Kind = Literal["reserve", "progress", "end", "confirm"]
_KIND_OF_OUTCOME: dict[str, Kind] = {
    "reserved": "reserve",
    "progressed": "progress",
    "settled": "end",
    "released": "end",
    "confirmed": "confirm",
}
CONFIRM, PROMPT_SLIDE = "confirm", "prompt_slide"  # features of quota (quota.proto)
NO_FEATURES: frozenset[str] = frozenset()
_UNDECIDED = quota_pb2.Refused.REASON_UNAVAILABLE


class Hold:
    """Reserve, slide, and end exactly once. `touch` has the link send; `wake` has the request look again."""

    __slots__ = (
        "_delivered",
        "_end",
        "_marked_unconfirmed",
        "_outstanding",
        "_overdue",
        "_progress_sent",
        "_prompt_asked",
        "_prompt_sent",
        "_reserve",
        "_settling",
        "_touch",
        "_trace",
        "_traceparent",
        "_wake",
        "answered",
        "asked",
        "covered",
        "id",
        "limited",
        "refused",
        "reserved",
        "sent_at",
        "state",
    )

    def __init__(self, hold_id: bytes, touch: Callable[[Hold], None], wake: Callable[[], None]) -> None:
        self.id = hold_id
        self.state = State.NEW
        self.reserved: quota_pb2.Reserved | None = None
        self.refused: quota_pb2.Refused | None = None  # of the reservation
        self.covered = 0  # output tokens, all choices, that may be delivered now
        self.limited = False  # the last slide could not take the whole window
        self.asked = 0  # the highest count that quota was asked to slide ahead of, or waits to be
        self.answered = 0  # the highest count that quota has answered
        self.sent_at = 0.0  # monotonic, when the reservation was handed to the stream
        self._touch = touch
        self._wake: Callable[[], None] | None = wake
        self._trace = self._settling = tracing.NONE  # the request's span; the settlement's may outlive it
        self._traceparent = ""
        self._reserve: quota_pb2.Reserve | None = None
        self._end: quota_pb2.Operation | None = None
        self._progress_sent = self._delivered = 0
        self._prompt_asked = self._prompt_sent = 0
        self._marked_unconfirmed = False  # the end was last sent so, to a replica that knows confirmations
        self._overdue = False  # what is under way was so at the last look too
        self._outstanding: list[Kind] = []  # sent on this stream and not answered, in order

    # What the request asks

    def reserve(self, reserve: quota_pb2.Reserve, trace: tracing.Span = tracing.NONE, traceparent: str = "") -> None:
        """Asks for admission. The answer is `reserved` or `refused`. `trace` is the request's span."""
        self._move(Event.RESERVE)
        self._reserve = reserve
        self._trace = trace
        self._traceparent = traceparent
        self._touch(self)

    def progress(self, reached: int, delivered: int) -> None:
        """Asks for cover ahead of `reached` and reports what the client has; the latest wins.

        The answer is `covered` and `limited`. After the end it changes nothing.
        """
        if reached > self.asked and self.state in ACTIVE:
            self.asked = reached
            self._delivered = delivered
            self._touch(self)

    def slide_prompt(self, prompt_tokens: int) -> None:
        """The engine counts the prompt higher than it was reserved: holds the difference, as far as it is free."""
        if self.state in ACTIVE:
            self._prompt_asked = max(self._prompt_asked, prompt_tokens)
            self._touch(self)

    def settle(
        self,
        output_tokens: int,
        prompt_tokens: int = 0,
        *,
        unconfirmed: bool = False,
        estimated: bool | None = None,
        abandoned: bool = False,
    ) -> None:
        """Ends with a charge; no output token makes it a release. prompt_tokens 0, estimated None: as reserved.

        unconfirmed: the answer is still to be written, and confirm() follows. abandoned: the client left.
        Only the first end counts.
        """
        if output_tokens <= 0:
            self.release(abandoned=abandoned)
            return
        settle = quota_pb2.Settle(output_tokens=output_tokens, prompt_tokens=prompt_tokens, estimated=estimated)
        event = Event.SETTLE_UNWRITTEN if unconfirmed else Event.END
        self._finish(event, quota_pb2.Operation(hold_id=self.id, settle=settle))

    def release(self, *, abandoned: bool = False) -> None:
        """Ends without a charge. A reservation that never left this process is simply forgotten."""
        release = quota_pb2.Release(abandoned=abandoned)
        self._finish(Event.END, quota_pb2.Operation(hold_id=self.id, release=release))

    def confirm(self) -> None:
        """The answer has left this process, or its client is gone: its charge stands. Safe to call again."""
        if Event.CONFIRM in TRANSITIONS[self.state]:
            self._move(Event.CONFIRM)
            self._touch(self)

    def report_to(self, wake: Callable[[], None]) -> None:
        """From now on answers call this."""
        self._wake = wake

    def forget_request(self) -> None:
        """The request is over: answers that are still to come wake nobody."""
        self._wake = None

    def _finish(self, event: Event, end: quota_pb2.Operation) -> None:
        if self._end is not None or self.ended:
            return
        self._move(event)
        self._end = end
        if not self.ended:
            self._settling = self._trace.child("settle")
            end.traceparent = self._settling.traceparent
        self._touch(self)

    # What there is to know

    @property
    def active(self) -> bool:
        """Reserved, not lost, and its end was not asked for."""
        return self.state is State.HELD

    @property
    def lost(self) -> bool:
        """Ended at quota, or it may have: nothing more may be delivered."""
        return self.state is State.LOST

    @property
    def charged(self) -> bool:
        """Quota acknowledged the charge or the release."""
        return self.state in AFTER_CHARGE

    @property
    def ended(self) -> bool:
        """It did, and nothing is left to confirm."""
        return self.state is State.ENDED

    @property
    def unanswered(self) -> bool:
        """Something was asked on this hold and quota has not answered."""
        if self.state in ACTIVE:
            return self.asked > self.answered
        return self.state in UNANSWERED_RESERVATION or self.state in UNANSWERED_END or self.state is State.CONFIRMING

    def runs_low(self, reached: int, window_tokens: int, most: int) -> bool:
        """Less than half a window is covered ahead of `reached`, and not yet all that the answer may have: asked in
        time, a stream whose account can pay never stands still."""
        return self.covered - reached <= window_tokens // 2 and self.covered < most

    # The link's side

    def take(self, now: float, features: frozenset[str] = NO_FEATURES) -> list[quota_pb2.Operation]:
        """What is to be sent now, in order, to a replica with these features; at most one progress is under way."""
        operations: list[quota_pb2.Operation] = []
        if self._prompt_asked > self._prompt_sent and PROMPT_SLIDE in features and self._may_slide():
            self._prompt_sent = self._prompt_asked
            operations.append(self._take_progress())
        if self.state in UNANSWERED_END:
            if "end" not in self._outstanding:
                operations.append(self._take_end(features))
        elif self.state in ACTIVE:
            if self.asked > self._progress_sent and "progress" not in self._outstanding:
                operations.append(self._take_progress())
        elif self.state in UNANSWERED_RESERVATION and "reserve" not in self._outstanding:
            operations.append(self._take_reservation(now))
        elif self.state is State.CONFIRMING and "confirm" not in self._outstanding and CONFIRM in features:
            # It waits for a replica that knows it: the session lives on meanwhile, so nothing is refunded.
            self._outstanding.append("confirm")
            operations.append(quota_pb2.Operation(hold_id=self.id, confirm=quota_pb2.Confirm()))
        return operations

    def _may_slide(self) -> bool:
        return self.state in ACTIVE or (self.state in UNANSWERED_END and "end" not in self._outstanding)

    def _take_reservation(self, now: float) -> quota_pb2.Operation:
        self._move(Event.SEND)
        self.sent_at = now
        self._outstanding.append("reserve")
        return quota_pb2.Operation(hold_id=self.id, reserve=self._reserve, traceparent=self._traceparent)

    def _take_progress(self) -> quota_pb2.Operation:
        self._progress_sent = self.asked
        self._outstanding.append("progress")
        progress = quota_pb2.Progress(
            delivered_tokens=self._delivered,
            generated_tokens=self.asked if self.asked > self._delivered else 0,
            prompt_tokens=self._prompt_sent,
        )
        return quota_pb2.Operation(hold_id=self.id, progress=progress)

    def _take_end(self, features: frozenset[str]) -> quota_pb2.Operation:
        assert self._end is not None
        self._outstanding.append("end")
        if self.state is not State.ENDING:
            self._end.settle.unconfirmed = self.state is State.SETTLING and CONFIRM in features
            if CONFIRM in features:  # another replica only repeats the first answer, and confirms nothing
                self._marked_unconfirmed = self._end.settle.unconfirmed
        return self._end

    def forget_sent(self) -> None:
        """The stream broke: what it did not answer is to be sent again. All operations may be repeated."""
        self._outstanding.clear()
        self._progress_sent, self._prompt_sent = self.answered, 0

    def overdue(self) -> bool:
        """Called every few seconds: True when the end was under way at the last call too, and is now to be repeated."""
        if "end" not in self._outstanding and "confirm" not in self._outstanding:
            self._overdue = False
            return False
        if not self._overdue:
            self._overdue = True
            return False
        self._overdue = False
        self._outstanding.clear()
        return True

    def accept(self, outcome: quota_pb2.Outcome) -> bool:
        """Takes an outcome in. True: quota could not say; the operation is to be sent again a little later.

        A refusal does not name its operation; those of one hold are applied in the order sent, so it is the oldest's.
        """
        which = outcome.WhichOneof("outcome")
        if which == "refused":
            return self._accept_refusal(outcome.refused)
        kind = _KIND_OF_OUTCOME.get(which or "")
        if kind is None or kind not in self._outstanding:
            return False
        self._outstanding.remove(kind)
        if kind == "reserve":
            self._move(Event.RESERVED)
            self.reserved = outcome.reserved
            self.covered = outcome.reserved.covered_tokens
        elif kind == "progress":
            self._accept_progress(outcome.progressed)
        elif kind == "end":
            self._accept_charge()
        else:
            self._move(Event.CONFIRMED)
        self._notify()
        return False

    def _accept_progress(self, progressed: quota_pb2.Progressed) -> None:
        self.answered = self._progress_sent
        self.covered = max(self.covered, progressed.covered_tokens)
        self.limited = progressed.limited
        if self.asked > self._progress_sent:
            self._touch(self)

    def _accept_charge(self) -> None:
        """A charge that was never unconfirmed, or was settled again without that mark, needs no confirmation."""
        self._move(Event.CHARGE_UNCONFIRMED if self._marked_unconfirmed else Event.CHARGE)
        self._overdue = False
        self._settling.end()
        if self.state is State.CONFIRMING:
            self._touch(self)

    def _accept_refusal(self, refused: quota_pb2.Refused) -> bool:
        if not self._outstanding:
            return False
        kind = self._outstanding.pop(0)
        if refused.reason == _UNDECIDED:
            if kind == "progress":
                self._progress_sent, self._prompt_sent = self.answered, 0
            return True
        if kind == "progress":
            self._move(Event.LOSE)
        else:
            self._move(Event.REFUSE)
            if kind == "reserve":
                self.refused = refused
            if kind != "confirm":
                self._settling.end("refused")
        self._notify()
        return False

    def lose(self) -> None:
        """The lease lapsed: quota may have ended this hold."""
        self._move(Event.LOSE)
        self._notify()

    def _move(self, event: Event) -> None:
        self.state = move(TRANSITIONS, self.state, event)

    def _notify(self) -> None:
        if self._wake is not None:
            self._wake()
