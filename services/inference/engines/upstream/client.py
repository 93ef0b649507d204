"""HTTP to one upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from services.inference.domain.errors import TargetFailed
from services.inference.engines.sinks import Gate
from services.inference.engines.upstream.answer_events import MAX_BODY
from services.inference.engines.upstream.http.receiver import HttpCall, HttpFailure, HttpFault, HttpReceiver

KEEPALIVE = 15.0  # seconds that an idle connection is kept
REUSED = "reused"
TAIL_TIMEOUT = 0.05  # seconds for the end of a stream after its last event, so that its connection can be used again


class UpstreamClient:
    """Sends requests to one server. Raises TargetFailed when it cannot be reached or speaks another protocol.

    Redirects are not followed and proxies not used: the key goes to the server that the list names and nowhere else.
    """

    def __init__(self, headers: Mapping[str, str], *, connect_timeout: float, reuse: bool) -> None:
        """`reuse`: connections are used again; not with llama.cpp, which closes a stream's without saying so."""
        self._headers = {**headers, "Content-Type": "application/json", "Accept-Encoding": "identity"}
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        self._fresh = self._session(aiohttp.TCPConnector(limit=0, force_close=True))
        self._http = self._session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE)) if reuse else self._fresh
        self._calls: set[asyncio.Task[None]] = set()

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            auto_decompress=False,
            trace_configs=[_tells_reuse()],
        )

    def send(self, url: str, body: bytes, receiver: HttpReceiver) -> HttpCall:
        """Asks for an answer, which `receiver` gets as it comes. Cancelling the call closes its connection at once."""
        call = _Call()
        task = asyncio.create_task(self._push(url, body, receiver, call))
        call.task = task
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return call

    async def _push(self, url: str, body: bytes, receiver: HttpReceiver, call: _Call) -> None:
        try:
            async with self._sending(url, body) as response:
                headers = {name.lower().encode(): value.encode() for name, value in response.headers.items()}
                receiver.on_head(response.status, headers)
                while data := await response.content.readany():
                    if call.left:  # only its end is of interest
                        continue
                    receiver.on_data(data)
                    await call.gate.passed()
                if not call.left:
                    receiver.on_end()
        except TargetFailed as error:
            if not call.left:
                receiver.on_error(HttpFailure(HttpFault(error.outcome), error.message.rpartition(": ")[2]))

    async def post(self, url: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        """A small question: status and body."""
        return await self._ask(url, body, timeout)

    async def get(self, url: str, timeout: float) -> tuple[int, bytes]:
        """The same without a body."""
        return await self._ask(url, None, timeout)

    async def _ask(self, url: str, body: bytes | None, timeout: float) -> tuple[int, bytes]:
        async with self._sending(url, body, aiohttp.ClientTimeout(total=timeout)) as response:
            return response.status, await _whole(response)

    async def close(self) -> None:
        """Closes all connections."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._http.close()
        await self._fresh.close()

    @asynccontextmanager
    async def _sending(
        self, url: str, body: bytes | None, timeout: aiohttp.ClientTimeout | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        try:
            response = await self._send(url, body, timeout or self._timeout)
            try:
                yield response
            finally:  # what was read to its end has given its connection back already
                response.close()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise TargetFailed(f"the upstream cannot be reached: {type(error).__name__}", "connect") from None
        except TimeoutError:
            raise TargetFailed("the upstream did not answer in time", "timeout") from None
        except (aiohttp.ClientError, OSError) as error:
            raise TargetFailed(f"the upstream broke the connection: {type(error).__name__}", "cut") from None

    async def _send(self, url: str, body: bytes | None, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        used: set[str] = set()
        method = "GET" if body is None else "POST"
        try:
            return await self._http.request(
                method, url, data=body, allow_redirects=False, timeout=timeout, trace_request_ctx=used
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if REUSED not in used:
                raise
            # The server had just closed an idle connection, which says nothing of its health: once more, on a new one.
            return await self._fresh.request(method, url, data=body, allow_redirects=False, timeout=timeout)


class _Call:
    """Implements HttpCall over aiohttp, whose answers are pulled."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.left = False
        self.task: asyncio.Task[None] | None = None

    def pause(self) -> None:
        """See HttpCall."""
        self.gate.pause()

    def resume(self) -> None:
        """See HttpCall."""
        self.gate.resume()

    def cancel(self) -> None:
        """See HttpCall."""
        self.left = True
        if self.task is not None:
            self.task.cancel()

    def leave(self) -> None:
        """See HttpCall."""
        self.left = True
        self.gate.resume()
        if self.task is not None and not self.task.done():
            asyncio.get_running_loop().call_later(TAIL_TIMEOUT, self.task.cancel)


def _tells_reuse() -> aiohttp.TraceConfig:
    """Puts REUSED into a request's own set when its connection had served another before."""

    async def reused(session: aiohttp.ClientSession, context: Any, params: object) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx.add(REUSED)

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    return config


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """An answer's body. Raises TargetFailed above MAX_BODY."""
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > MAX_BODY:
            raise TargetFailed("the upstream's answer is too large", "protocol")
    return bytes(data)
