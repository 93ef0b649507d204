"""What the tests of the upstream HTTP client share: a receiver that writes down what it was given."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from services.inference.engines.upstream.http.client import HttpClient
from services.inference.engines.upstream.http.receiver import Headers, HttpCall, HttpFailure, HttpRequest

TIMEOUT = 20.0  # seconds; a busy machine has room here


class Recorder:
    """Implements HttpReceiver. `on`: what to do beside, by the callback's name."""

    def __init__(self, **on: Callable[[Recorder], None]) -> None:
        self.call: HttpCall
        self.said: list[str] = []
        self.status = 0
        self.headers: Headers = {}
        self.body = b""
        self.failure: HttpFailure | None = None
        self._on = on
        self._over = asyncio.Event()

    @property
    def fault(self) -> str | None:
        return self.failure.fault.value if self.failure else None

    async def over(self) -> Recorder:
        """Waits for the end or the failure."""
        await asyncio.wait_for(self._over.wait(), TIMEOUT)
        return self

    def on_head(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers
        self._say("head")

    def on_data(self, data: bytes) -> None:
        self.body += data
        self._say("data")

    def on_end(self) -> None:
        self._over.set()
        self._say("end")

    def on_error(self, failure: HttpFailure) -> None:
        self.failure = failure
        self._over.set()
        self._say("error")

    def _say(self, what: str) -> None:
        self.said.append(what)
        if what in self._on:
            self._on[what](self)


@contextlib.asynccontextmanager
async def http_client(headers: dict[str, str] | None = None, **fields: Any) -> AsyncIterator[HttpClient]:
    client = HttpClient(headers or {}, **{"connect_timeout": 5.0, "reuse": True, **fields})
    try:
        yield client
    finally:
        await client.close()


def sent(client: HttpClient, url: str, body: bytes | None = None, **on: Callable[[Recorder], None]) -> Recorder:
    """A request that is under way."""
    recorder = Recorder(**on)
    recorder.call = client.send(HttpRequest("GET" if body is None else "POST", url, body), recorder)
    return recorder


async def asked(client: HttpClient, url: str, body: bytes | None = None) -> Recorder:
    """A request that is over."""
    return await sent(client, url, body).over()
