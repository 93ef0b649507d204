"""One hold as the edge sees it: what was asked of quota, what it answered, and what must be asked again after a break.

Everything here is plain state: asking queues, answers are taken in, and nobody's cancellation can come between. A hold
stays in its link's table until quota acknowledged its end, whether or not the request that made it still exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from muhgpt.quota.v1 import quota_pb2
from servicekit import tracing

Kind = Literal["reserve", "progress", "end"]
_OF_OUTCOME: dict[str, Kind] = {"reserved": "reserve", "progressed": "progress", "settled": "end", "released": "end"}
_UNKNOWN = quota_pb2.Refused.REASON_UNAVAILABLE


class Hold:
    """Reserve, slide, and end exactly once. `touch` tells the link to send; `wake` tells the request to look again."""

    __slots__ = (
        "_answered",
        "_delivered",
        "_end",
        "_end_sent",
        "_outstanding",
        "_owed",
        "_progress_asked",
        "_progress_sent",
        "_reserve",
        "_reserve_left",
        "_reserve_sent",
        "_settling",
        "_touch",
        "_traceparent",
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
        self.ended = False  # quota acknowledged the charge or the release
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

    def settle(self, output_tokens: int, prompt_tokens: int = 0) -> None:
        """Ends with a charge; no output token makes it a release. prompt_tokens 0: as reserved."""
        if output_tokens <= 0:
            self.release()
            return
        settle = quota_pb2.Settle(output_tokens=output_tokens, prompt_tokens=prompt_tokens)
        self._finish(quota_pb2.Operation(hold_id=self.id, settle=settle))

    def release(self) -> None:
        """Ends without a charge. A reservation that never left this process is simply forgotten."""
        self._finish(quota_pb2.Operation(hold_id=self.id, release=quota_pb2.Release()))

    def _finish(self, end: quota_pb2.Operation) -> None:
        if self._end is not None:
            return
        self._end = end
        if not self._reserve_left:
            self.ended = True
        else:
            self._settling = self.trace.child("settle")
            end.traceparent = self._settling.traceparent
        self._touch(self)

    # The link's side

    @property
    def unanswered(self) -> bool:
        """Something was asked on this hold and quota has not answered."""
        return not self.ended and (
            self._end is not None
            or (self._reserve is not None and self.reserved is None and self.refused is None)
            or self._progress_asked > self._answered
        )

    def take(self, now: float) -> list[quota_pb2.Operation]:
        """What is to be sent now, in order; at most one progress is under way."""
        if self.ended:
            return []
        operations = []
        if self._end is None and self._reserve is not None and not self._reserve_sent and self.reserved is None:
            self._reserve_sent = self._reserve_left = True
            self.sent_at = now
            self._outstanding.append("reserve")
            operations.append(
                quota_pb2.Operation(hold_id=self.id, reserve=self._reserve, traceparent=self._traceparent)
            )
        if self._end is not None and not self._end_sent:
            self._end_sent = True
            self._outstanding.append("end")
            operations.append(self._end)
        elif self._end is None and self._progress_asked > self._progress_sent and "progress" not in self._outstanding:
            self._progress_sent = self._progress_asked
            self._outstanding.append("progress")
            generated = self._progress_asked if self._progress_asked > self._delivered else 0
            progress = quota_pb2.Progress(delivered_tokens=self._delivered, generated_tokens=generated)
            operations.append(quota_pb2.Operation(hold_id=self.id, progress=progress))
        return operations

    def forget_sent(self) -> None:
        """The stream broke: what it did not answer is to be sent again. All operations may be repeated."""
        self._outstanding.clear()
        self._reserve_sent = self.reserved is not None
        self._progress_sent = self._answered
        self._end_sent = False

    def overdue(self) -> bool:
        """Called every few seconds: True when the end was under way at the last call too, and is now to be repeated."""
        if self.ended or self._end is None or not self._end_sent:
            return False
        if not self._owed:
            self._owed = True
            return False
        self._owed = self._end_sent = False
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
        else:
            self.ended = True
            self._settling.end()
        self._notify()
        return False

    def _refuse(self, refused: quota_pb2.Refused) -> bool:
        if not self._outstanding:
            return False
        kind = self._outstanding.pop(0)
        if refused.reason == _UNKNOWN:
            self._forget(kind)
            return True
        if kind == "reserve":
            self.refused = refused
            self.ended = True
        elif kind == "progress":
            self.lost = True
        else:
            self.ended = True
            self._settling.end("refused")
        self._notify()
        return False

    def _forget(self, kind: Kind) -> None:
        if kind == "reserve":
            self._reserve_sent = False
        elif kind == "progress":
            self._progress_sent = self._answered
        else:
            self._end_sent = False

    def lose(self) -> None:
        """The lease lapsed: quota may have ended this hold."""
        self.lost = True
        self._notify()

    def _notify(self) -> None:
        if self.wake is not None:
            self.wake()
