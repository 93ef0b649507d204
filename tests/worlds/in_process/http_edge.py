"""The real HTTP server of the edge on a loopback port, with a scripted pipeline behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from servicekit.clock import Clock, SystemClock
from services.edge.app import EdgeApp
from services.edge.endpoints.endpoint import HotEndpoint, HotLimits
from services.edge.endpoints.routes import HOT
from services.edge.http.cors import Cors
from services.edge.http.ids import new_request_id
from services.edge.http.limits import LimitNumbers, Limits
from services.edge.http.listener import address_of, listen
from services.edge.http.protocol import Bounds
from services.edge.http.server import HttpServer
from tests.worlds.in_process.scripted_gateway import KEY, ScriptedGateway


@dataclass
class Edge:
    """A serving edge."""

    gateway: ScriptedGateway
    server: HttpServer
    address: str
    client: httpx.AsyncClient
    budget: Limits

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def chat(self, **body: object) -> httpx.Response:
        """A chat request with a user's "Hello" unless the body says otherwise."""
        content = {"messages": [{"role": "user", "content": "Hello"}], **body}
        return await self.client.post("/v1/chat/completions", json=content)

    async def raw(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Bytes on a fresh connection."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        return reader, writer


StartEdge = Callable[..., Awaitable[Edge]]


@asynccontextmanager
async def serving(
    gateway: ScriptedGateway,
    bounds: Bounds,
    limits: HotLimits,
    reads: int,
    *,
    cors: Cors | None = None,
    clock: Clock | None = None,
    new_id: Callable[[], str] = new_request_id,
    numbers: LimitNumbers | None = None,
    hot: Sequence[HotEndpoint] = HOT,
) -> AsyncIterator[Edge]:
    clock = clock or SystemClock()
    budget = Limits(clock, numbers)
    app = EdgeApp(
        gateway, clock=clock, limits=limits, budget=budget, reads_per_minute=reads, new_id=new_id, cors=cors, hot=hot
    )
    started = asyncio.Event()

    async def on_started() -> None:
        started.set()

    server = HttpServer(
        app, bounds=bounds, keepalive_timeout=5, drain_timeout=1, cors=cors, limits=budget, on_started=on_started
    )
    listener = listen("127.0.0.1:0")
    address = address_of(listener)
    task = asyncio.create_task(server.run_on(listener))
    await asyncio.wait({task, asyncio.create_task(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=f"http://{address}", headers=headers, timeout=10) as client:
        yield Edge(gateway, server, address, client, budget)
    server.stop()
    await task


def request_bytes(method: str, path: str, body: bytes, *, extra: str = "") -> bytes:
    """A request as it goes over the wire, with the scripted gateway's key."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    media = "" if "Content-Type" in extra else "Content-Type: application/json\r\n"
    return f"{head}{media}Content-Length: {len(body)}\r\n{extra}\r\n".encode() + body
