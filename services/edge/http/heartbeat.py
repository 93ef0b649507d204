"""Pieces on a stream that has nothing to send, so that proxies do not take it for dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Protocol

from servicekit.clock import Clock
from services.edge.http.exchange import Exchange


class Timer(Protocol):
    """A call that is due."""

    def cancel(self) -> None:
        """It does not happen."""
        ...


class Loop(Protocol):
    """What is needed of an event loop."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """After `delay` seconds."""
        ...

    def create_task(self, coro: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """At once."""
        ...


class Heartbeat:
    """`with Heartbeat(...):` sends a piece that says nothing whenever nothing was sent for `interval` seconds.

    Costs a stream one timer, and a token nothing.
    """

    def __init__(
        self, exchange: Exchange, piece: bytes, interval: float, clock: Clock, loop: Loop | None = None
    ) -> None:
        """`piece` is an empty event or comment in the stream's dialect.

        `loop` is the running one, or a test's, whose time is the clock's.
        """
        self._exchange = exchange
        self._piece = piece
        self._interval = interval
        self._clock = clock
        self._loop: Loop = loop or asyncio.get_running_loop()
        self._beat: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._check)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        silent = self._clock.monotonic() - self._exchange.last_sent
        if silent < self._interval:
            self._timer = self._loop.call_later(self._interval - silent, self._check)
            return
        self._beat = self._loop.create_task(self._send())
        self._timer = self._loop.call_later(self._interval, self._check)

    async def _send(self) -> None:
        # A send that waits means that the client has not taken the last piece yet: it needs nothing.
        if not self._exchange.sending and not self._exchange.complete:
            await self._exchange.body(self._piece, more=True)
