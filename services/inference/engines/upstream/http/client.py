"""The HTTP client of one upstream: sends requests, on an idle connection or a new one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple

from servicekit.observability.logging import get_logger
from services.inference.engines.upstream.http.call import RunningCall
from services.inference.engines.upstream.http.connection import HttpConnection
from services.inference.engines.upstream.http.dial import dial
from services.inference.engines.upstream.http.origin import Origin, address_of
from services.inference.engines.upstream.http.pool import IdlePool
from services.inference.engines.upstream.http.receiver import (
    HttpCall,
    HttpFailure,
    HttpFault,
    HttpReceiver,
    HttpRequest,
)
from services.inference.engines.upstream.http.resolver import Lookup, Resolver

log = get_logger(__name__)

MAX_HEADS = 64  # request heads that are kept; an upstream has a handful of paths


class _Head(NamedTuple):
    """What all requests to one URL begin with."""

    origin: Origin
    start: bytes


class HttpClient:
    """See receiver.py. Belongs to one event loop, in which every method is called.

    Proxies are not used, cookies not kept, answers not decompressed.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        *,
        connect_timeout: float,
        reuse: bool,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
    ) -> None:
        """`headers` go with every request. `reuse`: connections serve more than one. `tls`: None: as the system trusts.

        Raises ValueError for a header that HTTP cannot carry; it does not repeat it.
        """
        self._fixed = b"".join(_line(name, value) for name, value in headers.items())
        self._connect_timeout = connect_timeout
        self._reuse = reuse
        self._tls = tls
        self._pool = IdlePool()
        self._calls: set[RunningCall] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._heads: dict[tuple[str, str], _Head] = {}
        self._loop = asyncio.get_running_loop()
        self._resolver = Resolver(self._loop.time, lookup)
        self._closed = False

    def send(self, request: HttpRequest, receiver: HttpReceiver) -> HttpCall:
        """Sends a request; what becomes of it is told to the receiver. Raises ValueError for what is no http(s) URL."""
        head = self._head(request.method, request.url)
        body = request.body
        framing = b"\r\n" if body is None else b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        call = RunningCall(head.origin, head.start + framing, receiver, self, self._loop)
        self._calls.add(call)
        if self._closed:
            self._loop.call_soon(call.fail, HttpFailure(HttpFault.UNREACHABLE, "the client is closed"))
        elif (connection := self._pool.take(head.origin, self._loop.time())) is not None:
            call.send_on(connection)
        else:
            call.connect()
        return call

    async def close(self) -> None:
        """Closes all connections; calls under way fail."""
        self._closed = True
        for call in list(self._calls):
            call.stop(HttpFailure(HttpFault.CUT, "the client is closed"))
        self._pool.close()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await self._resolver.close()

    # What a call asks for (Lines in call.py)

    def open(self, call: RunningCall) -> asyncio.Task[None]:
        """See Lines."""
        task = self._loop.create_task(self._open(call))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return task

    def give_back(self, origin: Origin, connection: HttpConnection) -> None:
        """See Lines."""
        if not connection.release():
            return
        if self._reuse and not self._closed:
            self._pool.put(origin, connection, self._loop)
        else:
            connection.close()

    def forget(self, call: RunningCall) -> None:
        """See Lines."""
        self._calls.discard(call)

    async def _open(self, call: RunningCall) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await dial(call.origin, self._resolver, self._tls, HttpConnection)
        except TimeoutError:
            call.fail(HttpFailure(HttpFault.UNREACHABLE, "no connection in time"))
        except (OSError, ValueError) as error:
            call.fail(HttpFailure(HttpFault.UNREACHABLE, type(error).__name__))
        except Exception:
            log.error("upstream_dial_failed", exc_info=True)
            call.fail(HttpFailure(HttpFault.UNREACHABLE, "an internal error"))
        else:
            call.send_on(connection)

    def _head(self, method: str, url: str) -> _Head:
        head = self._heads.get((method, url))
        if head is None:
            address = address_of(url)
            start = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b" % (
                method.encode(),
                address.target,
                address.host_header,
                self._fixed,
            )
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            head = self._heads[method, url] = _Head(address.origin, start)
        return head


def _line(name: str, value: str) -> bytes:
    line = f"{name}: {value}".encode()
    if any((byte < 32 and byte != 9) or byte == 127 for byte in line):
        raise ValueError("a header holds a control character")
    return line + b"\r\n"
