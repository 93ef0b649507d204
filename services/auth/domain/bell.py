"""Wakes what waits for a change in the store."""

from __future__ import annotations

import asyncio


class Bell:
    """Wakes the tasks of this process that wait for a change in the store."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def listen(self) -> asyncio.Event:
        """The event of the next ring. Take it before looking at the store, so that no ring is missed between."""
        return self._event

    def ring(self) -> None:
        """Wakes all that listen."""
        rung, self._event = self._event, asyncio.Event()
        rung.set()


async def wait_for_ring(event: asyncio.Event, timeout: float) -> None:
    """Waits for an event, at most `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return
