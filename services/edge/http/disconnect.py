"""Noticing at once that the client went away."""

from __future__ import annotations

import asyncio
from types import TracebackType

from services.edge.http.exchange import Receive


class ClientGone(Exception):
    """The client closed the connection before its answer was complete."""


class until_disconnect:
    """`async with until_disconnect(receive):` cancels the block when the client goes away, and raises ClientGone.

    Works as asyncio.timeout does: the cancellation is thrown where the block waits, and is told from one that comes
    from outside (a server that stops). The request's body must have been read.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._watch = asyncio.ensure_future(self._watch_client())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watch.cancel()
        if self._gone and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientGone from None

    async def _watch_client(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self._gone = True
        self._task.cancel()
