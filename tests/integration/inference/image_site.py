"""A web server on loopback for the image fetcher, names that lead to it, and the fetcher itself."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from services.inference.domain.addresses import AllowList
from services.inference.domain.errors import InvalidImageUrl
from services.inference.images.fetcher import FetchLimits, ImageFetcher

PARAM = "messages[0].content[1].image_url.url"
FILE = b"\x89PNG and so on"


class Server:
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[web.Request] = []
        self.left = asyncio.Event()  # a client went before its answer ended
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": to}, body=b"moved")

        self.answers[path] = answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        try:
            if request.path in self.answers:
                return await self.answers[request.path](request)
            return web.Response(body=FILE, content_type="image/png", headers={"Set-Cookie": "id=1"})
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@asynccontextmanager
async def serving(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=tls)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


class Names:
    """A resolver in whose names the answers change from one question to the next; the last stays."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("_", "."): given for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("no such name")
        given = self.answers[host]
        return given.pop(0) if len(given) > 1 else given[0]


@asynccontextmanager
async def fetching(
    allowed: str = "127.0.0.1", names: Names | None = None, **limits: Any
) -> AsyncIterator[ImageFetcher]:
    fetcher = ImageFetcher(FetchLimits(allowed=AllowList.parse(allowed), **limits), names)
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def refusal(fetcher: ImageFetcher, url: str) -> str:
    with pytest.raises(InvalidImageUrl) as caught:
        await fetcher.fetch(url, PARAM)
    assert caught.value.param == PARAM
    assert caught.value.message.startswith(f"{PARAM} ")
    return caught.value.message
