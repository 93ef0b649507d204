"""uvicorn with our protocol, our signals and our log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn

from services.edge.http.cors import Cors
from services.edge.http.descriptors import backlog
from services.edge.http.limits import Limits
from services.edge.http.protocol import Bounds, bounded

# What a task that was cancelled at the end of the drain may take to say so.
CANCELLED_GRACE = 2.0


class HttpServer(uvicorn.Server):
    """Serves until `stop` is called, then drains: no new connections, open answers end within drain_timeout seconds.

    `on_started` is awaited once connections are taken.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        *,
        bounds: Bounds,
        keepalive_timeout: float,
        drain_timeout: float,
        cors: Cors | None = None,
        limits: Limits | None = None,
        on_started: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded(bounds, cors, limits),
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                workers=1,
                backlog=backlog(),
                timeout_keep_alive=_number(keepalive_timeout),
                timeout_graceful_shutdown=_number(drain_timeout),
            )
        )
        self._on_started = on_started

    async def run_on(self, listener: socket.socket) -> None:
        """Serves on a listening socket until stopped and drained."""
        await self.serve(sockets=[listener])
        if self.server_state.tasks:
            await asyncio.wait(set(self.server_state.tasks), timeout=CANCELLED_GRACE)

    def stop(self) -> None:
        """Begins the drain; a second call cuts it short."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_started is not None:
            await self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the worker's business: uvicorn would raise them again once it is done."""
        yield


def _number(seconds: float) -> Any:
    """uvicorn's annotations say int; its timers take any number."""
    return seconds
