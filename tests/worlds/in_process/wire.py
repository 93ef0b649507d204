"""A loopback TCP relay between the edge and a real server: connections can be cut, refused or left silent."""

from __future__ import annotations

import asyncio
import contextlib


class Wire:
    """Relays to `target`; the edge is given `address`."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self.refused = 0  # connections
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.address = ""

    async def start(self) -> str:
        """Listens; returns the address for the edge."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self.address

    def cut(self) -> None:
        """Resets every connection; new ones are relayed again."""
        for writer in list(self._writers):
            writer.transport.abort()

    def refuse_new(self) -> None:
        """Resets new connections until restore(); those that are open go on: the server has begun to stop."""
        self._refusing = True

    def refuse(self) -> None:
        """Resets every connection, and new ones too until restore(): the server is down."""
        self._refusing = True
        self.cut()

    def silence(self) -> None:
        """Nothing passes any more, nothing is reset: a partition."""
        self._flowing.clear()

    def restore(self) -> None:
        """As at the start."""
        self._refusing = False
        self._flowing.set()

    async def close(self) -> None:
        """Ends the relay."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            self.refused += 1
            writer.transport.abort()
            return
        host, _, port = self._target.rpartition(":")
        to_server, server = await asyncio.open_connection(host, int(port))
        for left, right in ((reader, server), (to_server, writer)):
            task = asyncio.create_task(self._relay(left, right))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()
