"""Pieces on a stream that has nothing to send, so that proxies do not take it for dead."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from servicekit.clock import Clock
from services.edge.http.exchange import Exchange


class Cancellable(Protocol):
    """A timer that was started."""

    def cancel(self) -> None: ...


class Timers(Protocol):
    """What starts timers: servicekit's TimerWheel, one for all streams."""

    def start(self, seconds: float, expired: Callable[[], None]) -> Cancellable: ...


class Heartbeat:
    """`with Heartbeat(...):` sends a piece that says nothing whenever nothing was sent for `interval` seconds.

    Costs a stream one entry in the wheel, and a token nothing.
    """

    def __init__(self, exchange: Exchange, piece: bytes, interval: float, clock: Clock, timers: Timers) -> None:
        """`piece` is an empty event or comment in the stream's dialect."""
        self._exchange = exchange
        self._piece = piece
        self._interval = interval
        self._clock = clock
        self._timers = timers

    def __enter__(self) -> None:
        self._timer = self._timers.start(self._interval, self._check)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        exchange = self._exchange
        silent = self._clock.monotonic() - exchange.last_sent
        if silent < self._interval:
            self._timer = self._timers.start(self._interval - silent, self._check)
            return
        # A client that has not taken the last piece yet needs nothing.
        if exchange.ready and not exchange.complete:
            exchange.write(self._piece)
        self._timer = self._timers.start(self._interval, self._check)
