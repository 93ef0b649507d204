"""Noticing at once that the client went away."""

from __future__ import annotations

import asyncio
from types import TracebackType

from services.edge.http.exchange import Exchange


class ClientGone(Exception):
    """The client closed the connection before its answer was complete."""


class until_disconnect:
    """`async with until_disconnect(exchange):` cancels the block when the client goes away, and raises ClientGone.

    Works as asyncio.timeout does: the cancellation is thrown where the block waits, and is told from one that comes
    from outside (a server that stops). The request's body must have been read.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._gone = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[object] | None = task
        self._cancelling = task.cancelling()
        self._exchange.when_gone(self._leave)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        assert task is not None
        if self._gone and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientGone from None

    def _leave(self) -> None:
        if self._task is not None:
            self._gone = True
            self._task.cancel()
