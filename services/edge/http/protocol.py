"""uvicorn's httptools protocol with bounds and manners.

Seen in uvicorn 0.54: malformed request lines are answered in plain text, a header may have 8 MiB, a header or body that
stalls is kept for ever, a client that stops reading too, an answer to a client that still uploads is lost to a TCP
reset, and a request that runs while another is pipelined behind it is not told that its client went away. The bounds:
docs/wire.md.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from servicekit.logging import get_logger
from services.edge.http.cors import Cors
from services.edge.http.ids import new_request_id
from services.edge.http_errors import ApiError

log = get_logger(__name__)

# Bytes that may wait in this process, and as many in the kernel, for a client that does not read. Then its answer
# waits, and the engine with it. What waits here was charged, so it must be little (G4): alone, the kernel takes MB.
UNSENT_MOST = 4096
OFFER = frozenset({b"upgrade", b"connection", b"http2-settings"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one connection may take. Sizes in bytes, times in seconds."""

    header_bytes: int = 64 * 1024
    header_timeout: float = 10.0  # from a request's first byte (or the connection) to the header's end
    body_timeout: float = 30.0  # between two pieces of a body
    upload_timeout: float = 300.0  # for a whole body
    write_timeout: float = 30.0  # for a client that does not read what it asked for
    linger_timeout: float = 10.0  # for a client that still sends after it was answered for good
    linger_bytes: int = 256 * 1024 * 1024

    @property
    def tick(self) -> float:
        """How often a connection that is being read is looked at: one timer serves header and body."""
        return min(self.header_timeout, self.body_timeout, self.upload_timeout)


class EdgeProtocol(HttpToolsProtocol):
    """One connection. `bounds` and `cors` are set by `bounded`."""

    bounds = Bounds()
    cors: Cors | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _keep_little_unsent(transport)
        self._polite = _PoliteTransport(self)
        self._running: RequestResponseCycle | None = None
        self._phase = "header"
        self._began = self._heard = self.loop.time()
        self._header_bytes = 0
        self._refusal: ApiError | None = None
        self._discarding: int | None = None  # bytes dropped since the connection was answered for good
        self._read_timer: asyncio.TimerHandle | None = self.loop.call_later(self.bounds.tick, self._check)
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._read_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        _tell_gone(self._running)
        super().connection_lost(exc)

    # Reading

    def data_received(self, data: bytes) -> None:
        if self._discarding is not None:
            self._discard(len(data))
            return
        self._heard = self.loop.time()
        if self._phase == "header":
            self._header_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._discarding is not None:
            return
        if self._phase == "header" and self._header_bytes > self.bounds.header_bytes:
            self._refuse(ApiError.header_too_large(self.bounds.header_bytes))
        elif self._phase == "idle" and self.timeout_keep_alive_task is None and self._answered():
            # Line ends, which begin no request, must not hold the connection for ever.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal or ApiError.invalid("The request is not valid HTTP."))

    def _decline_upgrade(self, rest: bytes) -> None:
        """An offer to speak another protocol (h2c, which Java's client makes with every first request) may be ignored
        (RFC 9110 §7.8), but httptools takes the body for that protocol: the request is read again without the offer."""
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [name + b": " + value for name, value in self.headers if name not in OFFER]
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase, self._began, self._header_bytes = "header", self._heard, 1
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(self.bounds.tick, self._check)

    def on_headers_complete(self) -> None:
        # A header that came with its body in one piece was not counted by data_received.
        if sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url) > self.bounds.header_bytes:
            self._refusal = ApiError.header_too_large(self.bounds.header_bytes)
            raise ValueError("header too large")  # ends the parser
        if self._is_offer():
            return
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = self._polite  # type: ignore[assignment]
        self._phase, self._began = "body", self._heard

    def on_message_complete(self) -> None:
        if self._is_offer():
            return
        super().on_message_complete()
        self._phase = "idle"

    def _is_offer(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _answered(self) -> bool:
        return self._running is None or bool(self._running.response_complete)

    def _check(self) -> None:
        """The read timer: ends what is overdue, else comes back when something can be."""
        self._read_timer = None
        if self._discarding is not None or self._phase == "idle" or self.transport.is_closing():
            return
        now = self.loop.time()
        if self.flow.read_paused:  # it is us who do not take more
            self._heard = now
        due = self._began + self.bounds.header_timeout
        if self._phase == "body":
            due = min(self._heard + self.bounds.body_timeout, self._began + self.bounds.upload_timeout)
        if now < due:
            self._read_timer = self.loop.call_later(min(due - now, self.bounds.tick), self._check)
        elif self._phase == "header" and self._header_bytes == 0:
            self.close_politely()
        else:
            self._refuse(ApiError.request_timeout(self._phase))

    # Refusing below the application

    def _refuse(self, error: ApiError) -> None:
        """Answers a request that never reaches the application, or never whole, and closes."""
        request_id = new_request_id()
        log.info("request_refused", request_id=request_id, status=error.status, reason=error.message)
        running = None if self._answered() else self._running
        if running is not None and not (self._phase == "body" and running is self.cycle):
            # A request before it on this connection is still being answered: that answer is the last.
            running.keep_alive = False
            self.pipeline.clear()
            self._discarding = 0
            return
        started = self._phase == "body" and self.cycle is not None and self.cycle.response_started
        if self._phase == "body":
            _tell_gone(self.cycle)
        if not started:
            self.transport.write(self._raw_response(error, request_id))
        self._linger()

    def _raw_response(self, error: ApiError, request_id: str) -> bytes:
        body = error.body()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        if self.cors is not None:  # of a header that was not understood there is nothing, so no page may read this
            headers += self.cors.headers(dict(getattr(self, "headers", ())).get(b"origin"))
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        return STATUS_LINE[error.status] + lines + b"\r\n" + body

    # Closing

    def on_response_complete(self) -> None:
        if self._discarding is not None:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            return
        super().on_response_complete()

    def close_politely(self) -> None:
        """Closes when what was written is sent. A client that is still sending is first heard out, within bounds:
        closing with unread input would reset the connection and the client would lose its answer."""
        if self._phase == "body" and not self.transport.is_closing():
            self._linger()
            return
        self.transport.close()
        self._arm_write_timer()

    def _linger(self) -> None:
        self._discarding = 0
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self._read_timer is not None:
            self._read_timer.cancel()
        self._read_timer = self.loop.call_later(self.bounds.linger_timeout, self.transport.abort)

    def _discard(self, count: int) -> None:
        self._discarding = (self._discarding or 0) + count
        if self._discarding > self.bounds.linger_bytes:
            self.transport.abort()

    # Writing

    def pause_writing(self) -> None:
        super().pause_writing()
        self._arm_write_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None and not self.transport.is_closing():
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        if not self.transport.is_closing():
            self.close_politely()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self._arm_write_timer()

    def _arm_write_timer(self) -> None:
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.bounds.write_timeout, self.transport.abort)


class _PoliteTransport:
    """What an answer writes to: the connection's transport, but closing hears the client out."""

    def __init__(self, protocol: EdgeProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        self._protocol.close_politely()


def _keep_little_unsent(transport: asyncio.Transport) -> None:
    transport.set_write_buffer_limits(high=UNSENT_MOST)
    raw = transport.get_extra_info("socket")
    if raw is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_MOST)


def bounded(bounds: Bounds, cors: Cors | None = None) -> type[EdgeProtocol]:
    """The protocol class with these bounds, for uvicorn's `http` setting."""
    return type("BoundedEdgeProtocol", (EdgeProtocol,), {"bounds": bounds, "cors": cors})


def _tell_gone(cycle: RequestResponseCycle | None) -> None:
    if cycle is not None and not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()
