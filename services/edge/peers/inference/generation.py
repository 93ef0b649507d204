"""One generation as the edge sees it: what the engine sent and nobody has taken yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from muhgpt.inference.v1 import inference_pb2

Output = inference_pb2.Delta | inference_pb2.Finished | inference_pb2.Failed

# What may wait for a client that does not read: far above one answer, and still little memory.
DELTAS_MOST = 4096
BYTES_MOST = 1024 * 1024

BROKEN = inference_pb2.Failed(reason=inference_pb2.Failed.REASON_ENGINE_UNAVAILABLE, message="the stream broke")
OVERFLOWN = inference_pb2.Failed(reason=inference_pb2.Failed.REASON_ENGINE_UNAVAILABLE, message="nobody reads")


class Carrier(Protocol):
    """The stream that a generation runs on."""

    def command(self, generation: Generation, command: inference_pb2.Command) -> None:
        """Queues a command."""
        ...

    def forget(self, generation: Generation) -> None:
        """Nothing more of this generation is wanted."""
        ...


class Generation:
    """Prepare, go, take output, and leave. Taking in and leaving are plain functions that never wait."""

    __slots__ = (
        "_bytes",
        "_carrier",
        "_gone",
        "_wake",
        "events",
        "failed",
        "go_written",
        "id",
        "left",
        "lost",
        "model",
        "prepare_written",
        "prepared",
        "received",
        "withheld",
    )

    def __init__(self, generation_id: int, model: str, carrier: Carrier, wake: Callable[[], None]) -> None:
        self.id = generation_id
        self.model = model
        self.prepared: inference_pb2.Prepared | None = None
        self.events: deque[Output] = deque()
        self.received = 0  # output tokens, all choices, that the engine has sent
        self.withheld = 0  # output tokens that the engine has generated beside these, and checks before it sends them
        self.failed = False  # the engine said so
        self.lost = False  # the stream broke before the start: it may be prepared again elsewhere
        self.left = False
        self.prepare_written = self.go_written = False
        self._carrier = carrier
        self._wake = wake
        self._gone = False
        self._bytes = 0

    @property
    def refused_away(self) -> bool:
        """It was not prepared because the engine is away: another replica's may be there. One that the engine died
        under is not offered to another, which might die too."""
        if self.prepared is not None or not self.events:
            return False
        first = self.events[0]
        if not isinstance(first, inference_pb2.Failed) or first.engine_died:
            return False
        return first.reason == first.REASON_ENGINE_UNAVAILABLE

    def prepare(self, prepare: inference_pb2.Prepare) -> None:
        """Has the prompt checked and counted. The answer is `prepared`, or a Failed in `events`."""
        self._carrier.command(self, inference_pb2.Command(generation_id=self.id, prepare=prepare))

    def go(self, max_tokens: int, traceparent: str = "", *, implied: bool = False) -> None:
        """Starts it; max_tokens is per choice, and `implied` when it is only what the context leaves.

        The answers are `events`.
        """
        self._gone = True
        go = inference_pb2.Go(max_tokens=max_tokens, traceparent=traceparent, max_tokens_implied=implied)
        self._carrier.command(self, inference_pb2.Command(generation_id=self.id, go=go))

    def leave(self) -> None:
        """Stops the engine's work on it, whatever state it is in. Safe to call again."""
        if self.left:
            return
        self.left = True
        if self.prepare_written and not self.lost:
            if self.prepared is not None and not self._gone:
                command = inference_pb2.Command(generation_id=self.id, drop=inference_pb2.Drop())
            else:
                command = inference_pb2.Command(generation_id=self.id, cancel=inference_pb2.Cancel())
            self._carrier.command(self, command)
        self._carrier.forget(self)

    def accept(self, event: inference_pb2.Event) -> None:
        """Takes in what the engine sent. The carrier calls wake() once it has taken in all of one message."""
        which = event.WhichOneof("event")
        if which == "delta":
            delta = event.delta
            self.received += delta.tokens
            if delta.tokens:
                self.withheld = 0
            self._bytes += len(delta.text) + 64
            self.events.append(delta)
            if len(self.events) > DELTAS_MOST or self._bytes > BYTES_MOST:
                self.events.append(OVERFLOWN)
                self.leave()
        elif which == "withheld":
            self.withheld = event.withheld.output_tokens
        elif which == "prepared":
            self.prepared = event.prepared
        elif which == "finished":
            self.events.append(event.finished)
            self._end()
        elif which == "failed":
            self.failed = True
            self.events.append(event.failed)
            self._end()

    def wake(self) -> None:
        """The request is to look at what has come."""
        self._wake()

    def report_to(self, wake: Callable[[], None]) -> None:
        """From now on wake() calls this."""
        self._wake = wake

    def take(self) -> Output:
        """The oldest of `events`, which is gone from there."""
        event = self.events.popleft()
        if isinstance(event, inference_pb2.Delta):
            self._bytes -= len(event.text) + 64
        return event

    def discard(self) -> None:
        """Nothing of what has come is wanted any more."""
        self.events.clear()
        self._bytes = 0

    def break_off(self) -> None:
        """The stream broke."""
        if self.go_written:
            self.events.append(BROKEN)
        else:
            self.lost = True
        self.left = True
        self.wake()

    def _end(self) -> None:
        self.left = True
        self._carrier.forget(self)
