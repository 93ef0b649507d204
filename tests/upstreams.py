"""An OpenAI-compatible server on loopback that does what a test tells it, byte for byte, however wrong.

async with upstream(stream(text("Hel"), text("lo"), end(), usage(7, 2))) as server:
    server.url                        # http://127.0.0.1:port
    server.requests                   # what it was asked: path, headers, JSON body
    server.play(status(500))          # from now on
    await server.left()               # until a client has closed its connection
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Play = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
SSE = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def chunk(delta: dict[str, Any], reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """A chunk of one choice."""
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}], **more}


def text(content: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return chunk({"content": content}, index=index, **more)


def end(reason: str = "stop", index: int = 0, **more: Any) -> dict[str, Any]:
    return chunk({}, reason, index, **more)


def usage(prompt: int, output: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": output}}


def encoded(*chunks: Any, done: bool = True) -> bytes:
    """Events as vLLM writes them; what is bytes already goes as it is."""
    events = [item if isinstance(item, bytes) else b"data: " + json.dumps(item).encode() + b"\n\n" for item in chunks]
    return b"".join(events) + (b"data: [DONE]\n\n" if done else b"")


def stream(*chunks: Any, done: bool = True, size: int | None = None, hold: bool = False) -> Play:
    """An answer. `size`: bytes of a piece; `hold`: the connection stays open and silent afterwards."""
    data = encoded(*chunks, done=done)

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE.encode())
        piece = size or max(1, len(data))
        for start in range(0, len(data), piece):
            writer.write(data[start : start + piece])
            await writer.drain()
            if size:
                await asyncio.sleep(0)
        if hold:
            await asyncio.Event().wait()

    return play


def status(code: int, body: Any = None, **headers: str) -> Play:
    """An answer that is no stream."""

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body or {"error": {"message": "secret reason"}}).encode()
        lines = [f"HTTP/1.1 {code} Told", f"Content-Length: {len(data)}", "Content-Type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)

    return play


async def silence(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """No byte comes back."""
    await asyncio.Event().wait()


async def hang_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """The connection ends without an answer."""


async def endless(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """One token after the other, for ever."""
    writer.write(SSE.encode())
    while True:
        writer.write(encoded(text("more "), done=False))
        await writer.drain()
        await asyncio.sleep(0)


class Upstream:
    """A running server."""

    def __init__(self, play: Play, models: Any = None) -> None:
        self.requests: list[Asked] = []
        self.gets: list[str] = []  # paths that it was asked for with GET, …
        self.models: Any = models  # … and what it answers; None: 404
        self.port = 0
        self.open = 0
        self._play = play
        self._left = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def play(self, play: Play) -> None:
        """How it answers from now on."""
        self._play = play

    async def start(self) -> None:
        """Listens; after kill() on the same port again."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Stops listening and cuts every connection, as a death does."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def left(self, timeout: float = 5.0) -> None:
        """Waits until a client has closed its connection before the answer's end."""
        await asyncio.wait_for(self._left.wait(), timeout)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self._left.set()
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        data = b"" if self.models is None else json.dumps(self.models).encode()
        told = "404 Not Found" if self.models is None else "200 OK"
        head = f"HTTP/1.1 {told}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + data)
        await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if first.startswith("GET "):  # what it has to say of itself; nothing but what a test gives it
            self.gets.append(first.split(" ")[1])
            return await self._tell(writer)
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        asked = Asked(first.split(" ")[1], headers, body)
        self.requests.append(asked)
        playing = asyncio.ensure_future(self._play(asked, writer))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({playing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                self._left.set()
            else:
                playing.result()
                await writer.drain()
        finally:
            for task in (playing, gone):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # killed while it cleans up
                await asyncio.gather(playing, gone, return_exceptions=True)


@contextlib.asynccontextmanager
async def upstream(play: Play, models: Any = None) -> AsyncIterator[Upstream]:
    """A server for as long as the test needs it. `models` is its answer to GET /v1/models."""
    server = Upstream(play, models)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
