"""A wire between auth and PostgreSQL that a test can cut and mend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import make_url

SOCKET = ".s.PGSQL.5432"


class DatabaseRelay:
    """Listens on a Unix socket in `folder`, as PostgreSQL does, and passes everything on to the server at `url`."""

    def __init__(self, url: str, folder: Path) -> None:
        self._target = make_url(url)
        self._folder = folder
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        through = self._target.set(host=None, port=None, query={"host": str(self._folder)})
        return through.render_as_string(hide_password=False)

    def cut(self) -> None:
        """Breaks all connections and listens no more, as a server that is stopped."""
        if self._server is not None:
            self._server.close()
        (self._folder / SOCKET).unlink(missing_ok=True)
        for link in self._links:
            link.cancel()

    async def mend(self) -> None:
        """Listens (again)."""
        self._server = await asyncio.start_unix_server(self._link, self._folder / SOCKET)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DatabaseRelay]:
        await self.mend()
        try:
            yield self
        finally:
            self.cut()
            await asyncio.gather(*self._links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        onward: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError, asyncio.CancelledError):  # cut: both sides are closed below
                back, onward = await self._connect()
                await asyncio.gather(_copy(reader, onward), _copy(back, writer))
        finally:
            self._links.discard(task)
            writer.close()
            if onward is not None:
                onward.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host = self._target.query.get("host")
        if isinstance(host, str):
            return await asyncio.open_unix_connection(Path(host) / SOCKET)
        return await asyncio.open_connection(self._target.host or "127.0.0.1", self._target.port or 5432)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
