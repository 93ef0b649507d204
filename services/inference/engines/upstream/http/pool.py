"""Idle connections, kept for a moment."""

from __future__ import annotations

import asyncio
from collections import deque

from services.inference.engines.upstream.http.connection import HttpConnection
from services.inference.engines.upstream.http.origin import Origin

KEEPALIVE_TIMEOUT = 15.0  # seconds that an idle connection is kept
MAX_IDLE = 256  # connections to one server; each is a file


class IdlePool:
    """The idle connections of each server, the one used last taken first."""

    def __init__(self, keepalive_timeout: float = KEEPALIVE_TIMEOUT) -> None:
        self._keepalive_timeout = keepalive_timeout
        self._idle: dict[Origin, deque[HttpConnection]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def take(self, origin: Origin, now: float) -> HttpConnection | None:
        """An open one, or None."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if now - connection.idle_since < self._keepalive_timeout and connection.stand_by():
                return connection
            connection.close()
        return None

    def put(self, origin: Origin, connection: HttpConnection, loop: asyncio.AbstractEventLoop) -> None:
        """Keeps one that is idle now."""
        connection.idle_since = loop.time()
        idle = self._idle.setdefault(origin, deque())
        idle.append(connection)
        if len(idle) > MAX_IDLE:
            idle.popleft().close()
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._keepalive_timeout, self._sweep, loop)

    def close(self) -> None:
        """Closes all."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = None
        oldest = loop.time() - self._keepalive_timeout
        for origin, idle in list(self._idle.items()):
            while idle and (idle[0].idle_since <= oldest or idle[0].closed):
                idle.popleft().close()
            if not idle:
                del self._idle[origin]
        if self._idle:
            first = min(idle[0].idle_since for idle in self._idle.values())
            self._sweeper = loop.call_at(first + self._keepalive_timeout, self._sweep, loop)
