"""uvicorn's httptools protocol with bounds and manners.

Seen in uvicorn 0.54: malformed request lines are answered in plain text, a header may have 8 MiB, a header or body that
stalls is kept for ever, a client that stops reading too, an answer to a client that still uploads is lost to a TCP
reset, a request that runs while another is pipelined behind it is not told that its client went away, and trailers are
appended to the headers. The bounds: docs/wire.md.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from dataclasses import dataclass
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from servicekit.clock import SystemClock
from servicekit.observability.logging import get_logger
from services.edge.http.connections import Place
from services.edge.http.cors import Cors
from services.edge.http.cycle import EdgeCycle, PlainCycle
from services.edge.http.descriptors import TURNED_AWAY
from services.edge.http.errors import ApiError
from services.edge.http.flush import when_written
from services.edge.http.ids import new_request_id
from services.edge.http.limits import Limits
from services.edge.http.polite import PoliteTransport, keep_little_unsent
from services.edge.http.request_head import MAX_HEADERS, MAX_TRAILERS, check_head
from services.edge.http.upgrade import without_offer

log = get_logger(__name__)

MAX_PIPELINED = 32  # requests that wait behind the one that is being answered
REFUSED_LINGER_TIMEOUT = 1.0  # seconds: for a connection for which there was no place
NOT_HTTP = "The request is not valid HTTP."


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
    """One connection. `bounds`, `cors` and `limits` are set by `bounded`."""

    bounds = Bounds()
    cors: Cors | None = None
    limits: Limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        keep_little_unsent(transport)
        self._polite = PoliteTransport(transport, self.close_politely)
        self._running: EdgeCycle | None = None
        self._phase = "header"
        self._began = self._heard = self.loop.time()
        self._header_bytes = self._body_bytes = self._framing_bytes = self._trailers = 0
        self._fresh = True  # a message began in this piece of input
        self._refusal: ApiError | None = None
        self._discarding: int | None = None  # bytes dropped since the connection was answered for good
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._place: Place | None = None
        try:
            self._place = self.limits.connections.enter(self, self.client[0] if self.client else None)
        except ApiError as error:
            self._turn_away(error)
        else:
            self._read_timer = self.loop.call_later(self.bounds.tick, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._read_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        if self._place is not None:
            self._place.leave()
        if self._running is not None:
            self._running.client_left()
        super().connection_lost(exc)

    def make_room(self) -> None:
        """Closes a connection that has no request, for another client's."""
        if self._discarding is None and not self.flow.write_paused:
            self.transport.close()
        else:
            self.transport.abort()

    # Reading

    def data_received(self, data: bytes) -> None:
        if self._discarding is not None:
            self._discard(len(data))
            return
        self._heard = self.loop.time()
        in_body, body_bytes, self._fresh = self._phase == "body", self._body_bytes, False
        if self._phase == "header":
            self._header_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._discarding is not None:
            return
        if in_body and self._phase == "body" and not self._fresh:
            self._count_framing(len(data) - (self._body_bytes - body_bytes))
        elif self._phase == "header" and self._header_bytes > self.bounds.header_bytes:
            self._refuse(ApiError.header_too_large(self.bounds.header_bytes))
        elif self._phase == "idle" and self.timeout_keep_alive_task is None and self._answered():
            # Line ends, which begin no request, must not hold the connection for ever.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _count_framing(self, count: int) -> None:
        """Chunk sizes, chunk extensions and trailers are not body: they may be as long as a header, and a quarter of
        the body beside it. The parser would keep a line of them that never ends for as long as it goes."""
        self._framing_bytes += count
        if self._framing_bytes > self.bounds.header_bytes + self._body_bytes // 4:
            self._refuse(ApiError.framing_too_large(self.bounds.header_bytes))

    def _parse(self, data: bytes) -> None:
        rest: bytes | None = data
        while rest is not None and self._discarding is None:
            rest = self._feed(rest)

    def _feed(self, data: bytes) -> bytes | None:
        """Gives data to the parser; returns what is to be read next, None for nothing."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            parser, self.parser = self.parser, httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            return without_offer(parser, self.url, self.headers) + data[offer.args[0] :]
        except httptools.HttpParserError as error:
            unknown = str(error) in ("Invalid HTTP version", "Pause on PRI/Upgrade")
            self._refuse(self._refusal or (ApiError.http_version() if unknown else ApiError.invalid(NOT_HTTP)))
        return None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase, self._began, self._fresh = "header", self._heard, True
        self._header_bytes, self._body_bytes, self._framing_bytes, self._trailers = 1, 0, 0, 0
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(self.bounds.tick, self._check)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == "body":  # a trailer: none means anything here, and none is a header
            self._trailers += 1
            if self._trailers > MAX_TRAILERS:
                self._stop_parsing(ApiError.framing_too_large(self.bounds.header_bytes))
            return
        if len(self.headers) >= MAX_HEADERS:
            self._stop_parsing(ApiError.header_too_large(self.bounds.header_bytes))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        try:
            check_head(version, self.headers, self.url, self.bounds.header_bytes)
        except ApiError as error:
            self._stop_parsing(error)
        if self._is_offer():
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            self._end_after_pipeline()
        self._read_target()
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["muhgpt.unread"] = self._unread  # type: ignore[typeddict-unknown-key]
        self.scope["muhgpt.when_written"] = partial(when_written, self.transport)  # type: ignore[typeddict-unknown-key]
        self._begin_cycle(version)
        self._phase, self._began = "body", self._heard
        if self._place is not None:
            self._place.works()

    def _read_target(self) -> None:
        """The path and query of the request's target, which may be a whole URL (RFC 9112 section 3.2.2)."""
        target = httptools.parse_url(self.url)
        raw_path = target.path or b"/"
        path = raw_path.decode("ascii")
        self.scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        self.scope["raw_path"] = raw_path
        self.scope["query_string"] = target.query or b""

    def _begin_cycle(self, version: str) -> None:
        before = self.cycle
        self.cycle = (PlainCycle if version == "1.0" else EdgeCycle)(
            scope=self.scope,
            transport=self._polite,  # type: ignore[arg-type]
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and version != "1.0",
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self.scope["muhgpt.writer"] = self.cycle  # type: ignore[typeddict-unknown-key]
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._is_offer():
            return
        super().on_message_complete()
        self._phase = "idle"

    def _is_offer(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _stop_parsing(self, refusal: ApiError) -> None:
        """Ends the parser from one of its callbacks; the request is refused then."""
        self._refusal = refusal
        raise ValueError(refusal.message)

    def _end_after_pipeline(self) -> None:
        """So many requests wait that no more are taken; the last one's answer ends the connection."""
        self.pipeline[0][0].keep_alive = False
        self._discarding = 0
        raise ValueError("pipelined too far")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        assert isinstance(cycle, EdgeCycle)
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _answered(self) -> bool:
        return self._running is None or bool(self._running.response_complete)

    def _unread(self) -> bool:
        """Whether the request that is being answered has not arrived whole."""
        return self._phase == "body" and self._running is self.cycle

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
        if self._discarding is not None:
            return
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
        if self._phase == "body" and isinstance(self.cycle, EdgeCycle):
            self.cycle.client_left()
        if not started:
            self.transport.write(self._raw_response(error, request_id))
        self._linger(self.bounds.linger_timeout)

    def _turn_away(self, error: ApiError) -> None:
        """There is no place for this connection: it is told why, and closed after a moment."""
        if len(self.connections) - len(self.limits.connections) > TURNED_AWAY:
            self.transport.abort()
            return
        self.transport.write(self._raw_response(error, new_request_id()))
        self._linger(REFUSED_LINGER_TIMEOUT)

    def _raw_response(self, error: ApiError, request_id: str) -> bytes:
        body = error.body()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
            *((name.encode(), value.encode()) for name, value in error.headers.items()),
        ]
        if self.cors is not None:  # of a header that was not understood there is nothing, so no page may read this
            headers += self.cors.headers(dict(self.headers or ()).get(b"origin"))
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        return STATUS_LINE[error.status] + lines + b"\r\n" + body

    # Closing

    def on_response_complete(self) -> None:
        if self._discarding is None or self.pipeline:
            super().on_response_complete()
            if self._answered() and self._place is not None:
                self._place.waits()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()

    def close_politely(self) -> None:
        """Closes when what was written is sent. A client that is still sending is first heard out, within bounds:
        closing with unread input would reset the connection and the client would lose its answer."""
        if (self._phase == "body" or self._discarding is not None) and not self.transport.is_closing():
            self._linger(self.bounds.linger_timeout)
            return
        self.transport.close()
        self._arm_write_timer()

    def _linger(self, timeout: float) -> None:
        self._discarding = 0
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        if self._place is not None:
            self._place.waits()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self._read_timer is not None:
            self._read_timer.cancel()
        self._read_timer = self.loop.call_later(timeout, self.transport.abort)

    def _discard(self, count: int) -> None:
        self._discarding = (self._discarding or 0) + count
        if self._discarding > self.bounds.linger_bytes:
            self.transport.abort()
        elif (pause := self.limits.discards.take(count)) > 0 and not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(pause, self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    # Writing

    def pause_writing(self) -> None:
        super().pause_writing()
        self._arm_write_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None and not self.transport.is_closing():
            self._write_timer.cancel()
            self._write_timer = None
        if self._running is not None:
            self._running.takes_more()

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


def bounded(bounds: Bounds, cors: Cors | None = None, limits: Limits | None = None) -> type[EdgeProtocol]:
    """The protocol class with these bounds, for uvicorn's `http` setting."""
    limits = limits or Limits(SystemClock())
    return type("BoundedEdgeProtocol", (EdgeProtocol,), {"bounds": bounds, "cors": cors, "limits": limits})
