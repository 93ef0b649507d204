"""Wakes one waiting task; cheaper than asyncio.Event where thousands live for milliseconds."""

from __future__ import annotations

import asyncio


class Wakeup:
    """set() before wait() is not lost, and any number of set() are one. One task waits at a time."""

    __slots__ = ("_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Something changed: the waiter should look."""
        self._set = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        """Returns when something changed since the last wait. May return for a change that was seen already."""
        if not self._set:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._set = False
