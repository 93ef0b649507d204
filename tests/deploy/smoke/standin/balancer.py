"""The Service `edge`: new connections go to ready replicas in turn, open ones stay where they are."""

from __future__ import annotations

import asyncio
from contextlib import suppress

PIECE = 65_536


class Balancer:
    """Listens on the virtual address. `endpoints` are the ready replicas, host:port; the stand-in changes it."""

    def __init__(self, listen: str) -> None:
        self.endpoints: list[str] = []
        self._listen = listen
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        host, _, port = self._listen.partition(":")
        self._server = await asyncio.start_server(self._connected, host, int(port))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            if not self.endpoints:
                return  # refused, as a Service without endpoints does
            self._turn += 1
            host, _, port = self.endpoints[self._turn % len(self.endpoints)].partition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            return
        finally:
            writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, to its end."""
    try:
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
    finally:
        with suppress(OSError):
            writer.close()
