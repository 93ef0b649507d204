"""A wire on loopback that a test can cut, slow down, or make swallow everything."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

PIECE = 65_536


class Proxy:
    """Passes TCP on to one address.

    drop(): connections stay open and nothing arrives any more, in either direction, as when a network is partitioned;
    new connections are taken and lead nowhere. cut(): connections are reset and new ones refused. delay(): each piece
    arrives later. mend(): all is well again; what a partition held back arrives then, as TCP's repeats would make it.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._open = asyncio.Event()
        self._open.set()
        self._delay = 0.0
        self.hurt = False  # since the last mend()
        self._links: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """Where its clients connect."""
        return f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._link, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def drop(self) -> None:
        """Nothing arrives any more."""
        self.hurt = True
        self._open.clear()

    def delay(self, seconds: float) -> None:
        """Each piece arrives so much later."""
        self._delay = seconds

    def cut(self) -> None:
        """Resets all connections and refuses new ones."""
        self.hurt = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for task, writers in self._links.items():
            for writer in writers:
                _reset(writer)
            task.cancel()

    def pass_on(self) -> None:
        """Ends drop() and delay()."""
        self._delay = 0.0
        self._open.set()

    async def mend(self) -> None:
        """All is well again."""
        self.hurt = False
        self.pass_on()
        if self._server is None:
            await self.start()

    async def close(self) -> None:
        """Ends everything."""
        self.cut()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers = self._links[task] = [writer]
        try:
            with suppress(OSError, asyncio.CancelledError):  # cut, or an end left: the other is closed below
                await self._open.wait()
                back, onward = await asyncio.open_connection(*self._target)
                writers.append(onward)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass_on(reader, onward))
                    group.create_task(self._pass_on(back, writer))
        except ExceptionGroup:  # OSError of one direction
            pass
        finally:
            del self._links[task]
            for each in writers:
                each.close()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(PIECE):
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._open.wait()
            sink.write(data)
            await sink.drain()
        await self._open.wait()
        sink.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes with a TCP reset instead of a goodbye."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
