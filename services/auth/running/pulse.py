"""Notices what other replicas changed: looks at the newest sequence while a stream of this process is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger
from services.auth.domain.bell import Bell
from services.auth.domain.store import ChangeStore

log = get_logger(__name__)


class Pulse:
    """Rings the bell when the newest sequence has risen. One small query each `interval` seconds for all streams."""

    def __init__(self, store: ChangeStore, bell: Bell, interval: float) -> None:
        self._store = store
        self._bell = bell
        self._interval = interval
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """While at least one is inside, the pulse beats."""
        self._listeners += 1
        if self._task is None:
            self._task = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            self._listeners -= 1
            if self._listeners == 0 and self._task is not None:
                self._task.cancel()
                self._task = None  # at once: a listener that comes before it has ended needs a new one

    async def _beat(self) -> None:
        newest = -1
        while True:
            sequence = await self._last_sequence(newest)
            if sequence != newest:
                newest = sequence
                self._bell.ring()
            await asyncio.sleep(self._interval)

    async def _last_sequence(self, otherwise: int) -> int:
        try:
            return await self._store.last_sequence()
        except DatabaseUnavailable:
            return otherwise
        except Exception:
            log.exception("pulse_failed")  # a defect; the streams live on, and the next beat tries again
            return otherwise
