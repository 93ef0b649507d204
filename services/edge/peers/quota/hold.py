"""One hold as the edge sees it: what was asked of quota, what it answered, and what must be asked again after a break.

Everything here is plain state: asking queues, answers are taken in, and nobody's cancellation can come between. A hold
stays in its link's table until quota acknowledged its end, whether or not the request that made it still exists.

The charge of a whole answer is unconfirmed until the answer has left this process. Then its hold is confirmed, or
settled again without that mark when the first settlement was not answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from muhgpt.quota.v1 import quota_pb2
from servicekit.observability import tracing

Kind = Literal["reserve", "progress", "end", "confirm"]
_OF_OUTCOME: dict[str, Kind] = {
    "reserved": "reserve",
    "progressed": "progress",
    "settled": "end",
    "released": "end",
    "confirmed": "confirm",
}
CONFIRM, PROMPT_SLIDE = "confirm", "prompt_slide"  # features of quota (quota.proto)
NO_FEATURES: frozenset[str] = frozenset()
_UNKNOWN = quota_pb2.Refused.REASON_UNAVAILABLE


class Hold:
    """Reserve, slide, and end exactly once. `touch` tells the link to send; `wake` tells the request to look again."""

    __slots__ = (
        "_answered",
        "_confirm_asked",
        "_confirm_sent",
        "_delivered",
        "_end",
        "_end_sent",
        "_outstanding",
        "_owed",
        "_progress_asked",
        "_progress_sent",
        "_prompt_asked",
        "_prompt_sent",
        "_reserve",
        "_reserve_left",
        "_reserve_sent",
        "_settling",
        "_touch",
        "_traceparent",
        "_unconfirmed",
        "_unconfirmed_at_quota",
        "charged",
        "covered",
        "ended",
        "id",
        "limited",
        "lost",
        "refused",
        "reserved",
        "sent_at",
        "trace",
        "wake",
    )

    def __init__(self, hold_id: bytes, touch: Callable[[Hold], None], wake: Callable[[], None]) -> None:
        self.id = hold_id
        self.wake: Callable[[], None] | None = wake
        self.reserved: quota_pb2.Reserved | None = None
        self.refused: quota_pb2.Refused | None = None  # of the reservation
        self.covered = 0  # output tokens, all choices, that may be delivered now
        self.limited = False  # the last slide could not take the whole window
        self.lost = False  # ended at quota, or may have: nothing more may be delivered
        self.charged = False  # quota acknowledged the charge or the release
        self.ended = False  # it did, and nothing is left to confirm
        self.sent_at = 0.0  # monotonic, when the reservation was handed to the stream
        self.trace = tracing.NONE  # the request's span; the settlement's may outlive it
        self._settling = tracing.NONE
        self._traceparent = ""
        self._touch = touch
        self._reserve: quota_pb2.Reserve | None = None
        self._reserve_sent = self._reserve_left = False  # sent on this stream; left this process ever
        self._progress_asked = self._progress_sent = self._answered = self._delivered = 0
        self._end: quota_pb2.Operation | None = None
        self._end_sent = self._owed = False
        self._unconfirmed = self._unconfirmed_at_quota = False  # the charge is to be confirmed; quota may know it so
        self._confirm_asked = self._confirm_sent = False
        self._prompt_asked = self._prompt_sent = 0
        self._outstanding: list[Kind] = []  # sent on this stream and not answered, in order

    # Asking

    def reserve(self, reserve: quota_pb2.Reserve, traceparent: str = "") -> None:
        """Asks for admission. The answer is `reserved` or `refused`."""
        self._reserve = reserve
        self._traceparent = traceparent
        self._touch(self)

    def progress(self, reached: int, delivered: int) -> None:
        """Asks for cover ahead of `reached` and tells what the client has; the latest wins.

        The answer is `covered` and `limited`.
        """
        if reached > self._progress_asked and self._end is None:
            self._progress_asked = reached
            self._delivered = delivered
            self._touch(self)

    @property
    def asked(self) -> int:
        """The highest count that quota was asked to slide ahead of, or waits to be."""
        return self._progress_asked

    @property
    def answered(self) -> int:
        """The highest count that quota has answered."""
        return self._answered

    @property
    def ending(self) -> bool:
        """True once settle or release was asked; further ones change nothing."""
        return self._end is not None

    def slide_prompt(self, prompt_tokens: int) -> None:
        """The engine counts the prompt higher than it was reserved: holds the difference, as far as it is free."""
        if self._end is None:
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
        """
        if output_tokens <= 0:
            self.release(abandoned=abandoned)
            return
        if self._end is None:
            self._unconfirmed = unconfirmed
        settle = quota_pb2.Settle(output_tokens=output_tokens, prompt_tokens=prompt_tokens, estimated=estimated)
        self._finish(quota_pb2.Operation(hold_id=self.id, settle=settle))

    def release(self, *, abandoned: bool = False) -> None:
        """Ends without a charge. A reservation that never left this process is simply forgotten."""
        release = quota_pb2.Release(abandoned=abandoned)
        self._finish(quota_pb2.Operation(hold_id=self.id, release=release))

    def confirm(self) -> None:
        """The answer has left this process, or its client is gone: its charge stands. Safe to call again."""
        if self._unconfirmed and not self._confirm_asked:
            self._confirm_asked = True
            self._touch(self)

    def _finish(self, end: quota_pb2.Operation) -> None:
        if self._end is not None:
            return
        self._end = end
        if not self._reserve_left:
            self.charged = self.ended = True
        else:
            self._settling = self.trace.child("settle")
            end.traceparent = self._settling.traceparent
        self._touch(self)

    # The link's side

    @property
    def unanswered(self) -> bool:
        """Something was asked on this hold and quota has not answered."""
        return not self.ended and (
            (self._end is not None and not self.charged)
            or (self.charged and self._confirm_asked)
            or (self._reserve is not None and self.reserved is None and self.refused is None)
            or self._progress_asked > self._answered
        )

    def take(self, now: float, features: frozenset[str] = NO_FEATURES) -> list[quota_pb2.Operation]:
        """What is to be sent now, in order, to a replica with these features; at most one progress is under way."""
        if self.ended:
            return []
        if self.charged:
            return self._take_confirmation(features)
        operations = []
        if self._end is None and self._reserve is not None and not self._reserve_sent and self.reserved is None:
            self._reserve_sent = self._reserve_left = True
            self.sent_at = now
            self._outstanding.append("reserve")
            operations.append(
                quota_pb2.Operation(hold_id=self.id, reserve=self._reserve, traceparent=self._traceparent)
            )
        if self._prompt_asked > self._prompt_sent and not self._end_sent and PROMPT_SLIDE in features:
            self._prompt_sent = self._prompt_asked
            operations.append(self._progress_now())
        if self._end is not None and not self._end_sent:
            operations.append(self._take_end(features))
        elif self._end is None and self._progress_asked > self._progress_sent and "progress" not in self._outstanding:
            operations.append(self._progress_now())
        return operations

    def _progress_now(self) -> quota_pb2.Operation:
        self._progress_sent = self._progress_asked
        self._outstanding.append("progress")
        generated = self._progress_asked if self._progress_asked > self._delivered else 0
        progress = quota_pb2.Progress(
            delivered_tokens=self._delivered, generated_tokens=generated, prompt_tokens=self._prompt_sent
        )
        return quota_pb2.Operation(hold_id=self.id, progress=progress)

    def _take_end(self, features: frozenset[str]) -> quota_pb2.Operation:
        assert self._end is not None
        self._end_sent = True
        self._outstanding.append("end")
        if self._unconfirmed:
            self._end.settle.unconfirmed = not self._confirm_asked and CONFIRM in features
            if CONFIRM in features:  # another replica only repeats the first answer, and confirms nothing
                self._unconfirmed_at_quota = self._end.settle.unconfirmed
        return self._end

    def _take_confirmation(self, features: frozenset[str]) -> list[quota_pb2.Operation]:
        """Waits for a replica that knows it: the session lives on meanwhile, so nothing is refunded."""
        if not self._confirm_asked or self._confirm_sent or CONFIRM not in features:
            return []
        self._confirm_sent = True
        self._outstanding.append("confirm")
        return [quota_pb2.Operation(hold_id=self.id, confirm=quota_pb2.Confirm())]

    def forget_sent(self) -> None:
        """The stream broke: what it did not answer is to be sent again. All operations may be repeated."""
        self._outstanding.clear()
        self._reserve_sent = self.reserved is not None
        self._progress_sent = self._answered
        self._prompt_sent = 0
        self._end_sent = self.charged
        self._confirm_sent = False

    def overdue(self) -> bool:
        """Called every few seconds: True when the end was under way at the last call too, and is now to be repeated."""
        if self.ended or not (self._confirm_sent if self.charged else self._end_sent):
            return False
        if not self._owed:
            self._owed = True
            return False
        self._owed = self._confirm_sent = False
        self._end_sent = self.charged
        self._outstanding.clear()
        return True

    def accept(self, outcome: quota_pb2.Outcome) -> bool:
        """Takes an outcome in. True: quota could not say; the operation is to be sent again a little later.

        A refusal does not name its operation; those of one hold are applied in the order sent, so it is the oldest's.
        """
        which = outcome.WhichOneof("outcome")
        kind = _OF_OUTCOME.get(which or "")
        if which == "refused":
            return self._refuse(outcome.refused)
        if kind is None or kind not in self._outstanding:
            return False
        self._outstanding.remove(kind)
        if which == "reserved":
            self.reserved = outcome.reserved
            self.covered = outcome.reserved.covered_tokens
        elif which == "progressed":
            self._answered = self._progress_sent
            self.covered = max(self.covered, outcome.progressed.covered_tokens)
            self.limited = outcome.progressed.limited
            if self._progress_asked > self._progress_sent:
                self._touch(self)
        elif kind == "end":
            self._charged()
        else:
            self.ended = True
        self._notify()
        return False

    def _charged(self) -> None:
        """A charge that was never unconfirmed, or was settled again without that mark, needs no confirmation."""
        self.charged, self._owed = True, False
        self.ended = not self._unconfirmed_at_quota
        self._settling.end()
        if self._confirm_asked and not self.ended:
            self._touch(self)

    def _refuse(self, refused: quota_pb2.Refused) -> bool:
        if not self._outstanding:
            return False
        kind = self._outstanding.pop(0)
        if refused.reason == _UNKNOWN:
            self._forget(kind)
            return True
        if kind == "reserve":
            self.refused = refused
            self.charged = self.ended = True
        elif kind == "progress":
            self.lost = True
        elif kind == "confirm":
            self.ended = True
        else:
            self.charged = self.ended = True
            self._settling.end("refused")
        self._notify()
        return False

    def _forget(self, kind: Kind) -> None:
        if kind == "reserve":
            self._reserve_sent = False
        elif kind == "progress":
            self._progress_sent, self._prompt_sent = self._answered, 0
        elif kind == "end":
            self._end_sent = False
        else:
            self._confirm_sent = False

    def lose(self) -> None:
        """The lease lapsed: quota may have ended this hold."""
        self.lost = True
        self._notify()

    def _notify(self) -> None:
        if self.wake is not None:
            self.wake()
