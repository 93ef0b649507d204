"""A server that answers with the bytes of a script, whatever they are, and reports how it was asked.

async with scripted(Script(b"HTTP/1.1 200 OK\\r\\n…")) as site:
    site.url            # http://127.0.0.1:port
    site.requests       # the bytes of each request
    site.connections    # how many were opened
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Script:
    """One answer. `end`: what becomes of the connection then: keep (for the next request), close, reset or hold."""

    pieces: tuple[bytes, ...]
    end: str = "close"
    before: float = 0.0  # seconds before the answer …
    between: float = 0.0  # … and between its pieces

    @staticmethod
    def of(*pieces: bytes, end: str = "close", between: float = 0.0) -> Script:
        return Script(pieces, end, between=between)


@dataclass
class Site:
    """A running server. Its n-th request gets the n-th script, later ones the last."""

    scripts: list[Script]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    port: int = 0
    scheme: str = "http"
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort() if self._last.end == "reset" else writer.close()

    @property
    def _last(self) -> Script:
        return self.scripts[min(max(len(self.requests), 1), len(self.scripts)) - 1]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        self.requests.append(head + (await reader.readexactly(int(length[1])) if length else b""))
        script = self._last
        await asyncio.sleep(script.before)
        for piece in script.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(script.between)
        if script.end == "hold":
            await reader.read()
        return script.end == "keep"


@contextlib.asynccontextmanager
async def scripted(*scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Site]:
    """A server for as long as the test needs it."""
    site = Site(list(scripts), scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(site.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(served, host, 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        running = list(tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
