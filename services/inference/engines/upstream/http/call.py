"""One request under way: which connection carries it, and what its receiver is given.

            sent                 head                  over
CONNECTING ------> WAITING ------------> READING ------------> OVER
    ^                 |                     |                    ^
    |     retry       |        left         |       over         |
    +-----------------+---> DRAINING <------+--------------------+
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from servicekit.observability.logging import get_logger
from services.inference.engines.upstream.http.answer_parser import AnswerParser
from services.inference.engines.upstream.http.connection import HttpConnection
from services.inference.engines.upstream.http.origin import Origin
from services.inference.engines.upstream.http.receiver import HttpFailure, HttpFault, HttpReceiver

log = get_logger(__name__)

DRAIN_TIMEOUT = 0.05  # seconds for the end of an answer that its user has left
MAX_DRAIN = 16 * 1024  # bytes of it


class Stage(StrEnum):
    """How far a call is."""

    CONNECTING = "connecting"
    WAITING = "waiting"  # sent; no final header has come
    READING = "reading"
    DRAINING = "draining"  # the receiver is rid of it, the connection not yet
    OVER = "over"


MOVES: dict[tuple[Stage, str], Stage] = {
    (Stage.CONNECTING, "sent"): Stage.WAITING,
    (Stage.WAITING, "retry"): Stage.CONNECTING,
    (Stage.WAITING, "head"): Stage.READING,
    (Stage.WAITING, "left"): Stage.DRAINING,
    (Stage.READING, "left"): Stage.DRAINING,
    (Stage.CONNECTING, "over"): Stage.OVER,
    (Stage.WAITING, "over"): Stage.OVER,
    (Stage.READING, "over"): Stage.OVER,
    (Stage.DRAINING, "over"): Stage.OVER,
}


class Lines(Protocol):
    """Where a call gets its connection, and gives it back."""

    def open(self, call: RunningCall) -> asyncio.Task[None]:
        """Begins to connect for a call."""

    def give_back(self, origin: Origin, connection: HttpConnection) -> None:
        """A connection whose answer is complete."""

    def forget(self, call: RunningCall) -> None:
        """A call is over."""


class RunningCall:
    """Implements HttpCall (receiver.py)."""

    __slots__ = (
        *("origin", "message", "_stage", "_receiver", "_lines", "_loop", "_connection", "_opening", "_timer"),
        *("_paused", "_drained"),
    )

    def __init__(
        self, origin: Origin, message: bytes, receiver: HttpReceiver, lines: Lines, loop: asyncio.AbstractEventLoop
    ) -> None:
        """`message`: the request as it is sent."""
        self.origin = origin
        self.message = message
        self._stage = Stage.CONNECTING
        self._receiver = receiver
        self._lines = lines
        self._loop = loop
        self._connection: HttpConnection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._drained = 0

    # What the user calls

    def pause(self) -> None:
        """See HttpCall."""
        self._paused = True
        if self._connection is not None and self._stage is not Stage.DRAINING:
            self._connection.pause()

    def resume(self) -> None:
        """See HttpCall."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    def cancel(self) -> None:
        """See HttpCall."""
        if self._stage is Stage.OVER:
            return
        connection, opening = self._connection, self._opening
        self._end()
        if connection is not None:
            connection.close()
        elif opening is not None:
            opening.cancel()

    def leave(self) -> None:
        """See HttpCall."""
        if self._stage in (Stage.OVER, Stage.DRAINING):
            return
        if self._connection is None:  # it never was, or its answer is complete
            self.cancel()
            return
        self._move("left")
        self._connection.resume()
        self._timer = self._loop.call_later(DRAIN_TIMEOUT, self.cancel)

    # What the client calls

    def connect(self) -> None:
        """Asks for a new connection."""
        self._opening = self._lines.open(self)

    def send_on(self, connection: HttpConnection) -> None:
        """Sends the request."""
        self._move("sent")
        self._opening = None
        self._connection = connection
        if self._paused:
            connection.pause()
        connection.start(self)

    def fail(self, failure: HttpFailure) -> None:
        """There will be no answer."""
        if self._stage is Stage.OVER:
            return
        told = self._stage is not Stage.DRAINING
        self._end()
        if told:
            self._guarded(lambda: self._receiver.on_error(failure))

    def stop(self, failure: HttpFailure) -> None:
        """Ends it from this side, and reports that."""
        connection, opening = self._connection, self._opening
        self.fail(failure)
        if connection is not None:
            connection.close()
        elif opening is not None:
            opening.cancel()

    # What the connection calls

    def take(self, parser: AnswerParser, body: bytes, connection: HttpConnection) -> None:
        """See Carried. The connection is given back first: what a receiver does then may be its next request."""
        ended = parser.complete or parser.failure is not None
        if ended:
            self._connection = None
            if parser.failure is None:
                self._lines.give_back(self.origin, connection)
            else:
                connection.close()
        if self._stage is Stage.DRAINING:
            self._drain(len(body), ended)
            return
        try:
            self._push(parser, body)
        except Exception:  # noqa: BLE001  the receiver's own: no other call may suffer
            self._receiver_failed()
            return
        if ended and self._stage is not Stage.OVER:
            self._finish(parser.failure)

    def lost(self, failure: HttpFailure, *, heard: bool) -> None:
        """See Carried."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.used and not heard and self._stage is Stage.WAITING:
            # The server had just closed an idle connection, which says nothing of its health: once more, on a new one.
            self._move("retry")
            self.connect()
        else:
            self.fail(failure)

    def _push(self, parser: AnswerParser, body: bytes) -> None:
        if parser.status and self._stage is Stage.WAITING:
            self._move("head")
            self.message = b""  # is not sent again
            self._receiver.on_head(parser.status, parser.headers)
        if body and self._stage is Stage.READING:
            self._receiver.on_data(body)

    def _finish(self, failure: HttpFailure | None) -> None:
        if failure is not None:
            self.fail(failure)
        else:
            self._end()
            self._guarded(self._receiver.on_end)

    def _drain(self, count: int, ended: bool) -> None:
        self._drained += count
        if ended:
            self._end()
        elif self._drained > MAX_DRAIN:
            self.cancel()

    def _receiver_failed(self) -> None:
        log.error("upstream_receiver_failed", exc_info=True)
        self.stop(HttpFailure(HttpFault.CUT, "an internal error"))

    def _guarded(self, say: Callable[[], None]) -> None:
        try:
            say()
        except Exception:
            log.error("upstream_receiver_failed", exc_info=True)

    def _end(self) -> None:
        self._move("over")
        self._connection = self._opening = None
        if self._timer is not None:
            self._timer.cancel()
        self._lines.forget(self)

    def _move(self, event: str) -> None:
        """Raises KeyError for a move that is none."""
        self._stage = MOVES[self._stage, event]
