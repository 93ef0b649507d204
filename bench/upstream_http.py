"""CPU of the HTTP client toward upstreams: ours, pushed and awaited, beside aiohttp, in one run.

A server in a process of its own answers as a streaming upstream does: `events` server-sent events in chunks of their
own, `pace` seconds apart. Printed are microseconds of this process's CPU per request and per event, the median of
rounds that take turns. The server's own share is printed too, so that it is seen to be no bottleneck.

    make bench-upstream ARGS='--rounds 5'
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import cast

import aiohttp
import uvloop

from services.inference.engines.upstream.http.awaited import AwaitedAnswer
from services.inference.engines.upstream.http.client import HttpClient
from services.inference.engines.upstream.http.receiver import Headers, HttpFailure, HttpRequest

HEADERS = {"Authorization": "Bearer sk-bench", "Content-Type": "application/json", "Accept-Encoding": "identity"}
BODY = b'{"model":"m","messages":[{"role":"user","content":"Hello!"}],"stream":true}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"token"}}]}\n\n'
PIECE = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"

Ask = Callable[[str], Awaitable[int]]  # asks once; the bytes that came


class Server(asyncio.Protocol):
    """Answers each request with `events` events: at once when `pace` is 0."""

    def __init__(self, events: int, pace: float) -> None:
        self._events, self._pace = events, pace
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if self._held.endswith(BODY):
            self._held = b""
            if self._pace:
                self._transport.write(HEAD)
                self._next(self._events)
            else:
                self._transport.write(HEAD + PIECE * self._events + END)

    def _next(self, left: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(PIECE if left else END)
        if left:
            asyncio.get_running_loop().call_later(self._pace, self._next, left - 1)


def serve(pipe: Connection, events: int, pace: float) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Server(events, pace), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, pipe.recv)
        pipe.send(time.process_time())

    uvloop.run(run())


class Counting:
    """A receiver that counts bytes."""

    def __init__(self) -> None:
        self.count = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_head(self, status: int, headers: Headers) -> None:
        assert status == 200

    def on_data(self, data: bytes) -> None:
        self.count += len(data)

    def on_end(self) -> None:
        self.over.set_result(None)

    def on_error(self, failure: HttpFailure) -> None:
        self.over.set_exception(RuntimeError(failure.detail))


def pushed(client: HttpClient) -> Ask:
    async def ask(url: str) -> int:
        receiver = Counting()
        client.send(HttpRequest("POST", url, BODY), receiver)
        await receiver.over
        return receiver.count

    return ask


def awaited(client: HttpClient) -> Ask:
    async def ask(url: str) -> int:
        answer, count = AwaitedAnswer(), 0
        answer.call = client.send(HttpRequest("POST", url, BODY), answer)
        await answer.head()
        while data := await answer.read():
            count += len(data)
        return count

    return ask


def with_aiohttp(session: aiohttp.ClientSession) -> Ask:
    async def ask(url: str) -> int:
        count = 0
        async with session.post(url, data=BODY, allow_redirects=False) as response:
            while data := await response.content.readany():
                count += len(data)
        return count

    return ask


async def cpu(ask: Ask, url: str, requests: int, clients: int) -> float:
    """Seconds of CPU that so many requests take."""
    left = requests

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask(url)

    await asyncio.gather(*(ask(url) for _ in range(clients)))  # connections are open
    began = time.process_time()
    await asyncio.gather(*(client() for _ in range(clients)))
    return time.process_time() - began


async def compare(url: str, requests: int, clients: int, rounds: int) -> dict[str, float]:
    """Microseconds per request, by client."""
    ours = HttpClient(HEADERS, connect_timeout=5, reuse=True)
    timeout, jar = aiohttp.ClientTimeout(total=None, sock_connect=5), aiohttp.DummyCookieJar()
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
    async with aiohttp.ClientSession(
        connector=connector, headers=HEADERS, timeout=timeout, cookie_jar=jar, auto_decompress=False
    ) as session:
        asks = {"pushed": pushed(ours), "awaited": awaited(ours), "aiohttp": with_aiohttp(session)}
        found: dict[str, list[float]] = {name: [] for name in asks}
        for _ in range(rounds):
            for name, ask in asks.items():
                found[name].append(await cpu(ask, url, requests, clients) / requests * 1e6)
    await ours.close()
    return {name: statistics.median(values) for name, values in found.items()}


def run(events: int, pace: float, requests: int, clients: int, rounds: int) -> dict[str, float]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, events, pace))
    process.start()
    url = f"http://127.0.0.1:{here.recv()}/v1/chat/completions"
    began = time.process_time()
    found = uvloop.run(compare(url, requests, clients, rounds))
    here.send(None)
    print(f"  (CPU: server {here.recv():.2f} s, all clients {time.process_time() - began:.2f} s)")
    process.join()
    return found


def show(title: str, found: dict[str, float], per: int) -> None:
    shown = ", ".join(f"{name} {value / per:.1f}" for name, value in found.items())
    print(f"{title}: {shown} µs; aiohttp ÷ pushed {found['aiohttp'] / found['pushed']:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for clients in (1, 32):
        show(f"one event, {clients} clients, per request", run(1, 0.0, 2000, clients, rounds), 1)
    show("64 events at once, 32 clients, per request", run(64, 0.0, 1000, 32, rounds), 1)
    for clients in (32, 96):
        events = 100
        show(f"paced events, {clients} streams, per event", run(events, 0.005, clients * 2, clients, rounds), events)


if __name__ == "__main__":
    main()
