"""HTTP to one upstream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from servicekit.sse import EventReader, EventTooLarge
from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.refusals import refusal_of
from services.inference.engines.upstream.whole import events_of

KEEPALIVE = 15.0  # seconds that an idle connection is kept
MOST_BODY = 8 * 1024 * 1024  # bytes of an answer that is no stream: a million token ids
MOST_ERROR = 64 * 1024  # bytes of an error's body
ERROR_PATIENCE = 5.0  # seconds for an error's body
REUSED = "reused"
# An answer of 8 choices, each token with 20 rivals, takes 4 KiB a token; nothing of it is kept here.
MAX_ANSWER = 512 * 1024 * 1024  # bytes of one answer
MAX_SILENT = 2 * 1024 * 1024  # bytes without an event, and of events without output
TAIL_PATIENCE = 0.05  # seconds for the end of a stream after its last event, so that its connection can be used again


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

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            auto_decompress=False,
            trace_configs=[_tells_reuse()],
        )

    async def stream(self, url: str, body: bytes) -> AsyncGenerator[list[bytes]]:
        """The events of an answer, those that came together in one list. Closing it closes the connection at once.

        Raises what refusals.py makes of another status than 200.
        """
        async with self._sending(url, body) as response:
            reader = EventReader()
            if response.status != 200:
                raise refusal_of(response.status, await _error_body(response), response.headers.get("Retry-After"))
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise TargetFailed("the upstream's answer is compressed, which was not asked for", "protocol")
            if response.content_type == "application/json":
                yield events_of(await _whole(response))
                return
            received = silent = 0
            while chunk := await response.content.readany():
                received, silent = received + len(chunk), silent + len(chunk)
                if received > MAX_ANSWER or silent > MAX_SILENT:
                    raise TargetFailed("the upstream's answer is too large", "oversized")
                if events := _read(reader, chunk):
                    silent = 0
                    yield events
                    if events[-1].strip() == b"[DONE]":
                        await _read_tail(response)
                        return
            if events := reader.finish():
                yield events

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


def _tells_reuse() -> aiohttp.TraceConfig:
    """Puts REUSED into a request's own set when its connection had served another before."""

    async def reused(session: aiohttp.ClientSession, context: Any, params: object) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx.add(REUSED)

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    return config


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """An answer's body. Raises TargetFailed above MOST_BODY."""
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > MOST_BODY:
            raise TargetFailed("the upstream's answer is too large", "protocol")
    return bytes(data)


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(ERROR_PATIENCE):
            while len(data) < MOST_ERROR and (piece := await response.content.readany()):
                data += piece
    return bytes(data[:MOST_ERROR])


def _read(reader: EventReader, chunk: bytes) -> list[bytes]:
    try:
        return reader.feed(chunk)
    except EventTooLarge as error:
        raise TargetFailed(f"the upstream sent too much at once: {error}", "protocol") from None


async def _read_tail(response: aiohttp.ClientResponse) -> None:
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(TAIL_PATIENCE):
            while await response.content.readany():
                pass
