"""One connection to an upstream: carries one call at a time, and keeps each answer to its own request."""

from __future__ import annotations

import asyncio
import select
from typing import Protocol, cast

from services.inference.engines.upstream.http.answer_parser import AnswerParser
from services.inference.engines.upstream.http.receiver import HttpFailure, HttpFault


class Carried(Protocol):
    """What a connection carries: the bytes of one request out, and what comes back to it in."""

    message: bytes

    def take(self, parser: AnswerParser, body: bytes, connection: HttpConnection) -> None:
        """Bytes came. When the parser says that the answer is complete or has failed, the connection is rid of it."""

    def lost(self, failure: HttpFailure, *, heard: bool) -> None:
        """The connection has ended before the answer. `heard`: a byte of it had come."""


class HttpConnection(asyncio.Protocol):
    """Idle, or under way with one call. It ends with the first thing that is not as it should be."""

    def __init__(self) -> None:
        self.used = False  # it has served a call before
        self.idle_since = 0.0
        self._transport: asyncio.Transport
        self._carried: Carried | None = None
        self._parser = AnswerParser()
        self._heard = self._paused = False
        self._readable: select.poll | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio's
        if (opened := transport.get_extra_info("socket")) is not None:
            self._readable = select.poll()
            self._readable.register(opened.fileno(), select.POLLIN)

    def start(self, carried: Carried) -> None:
        """Sends a request. Only on a connection that is open and idle."""
        self._carried = carried
        self._parser = AnswerParser()
        self._heard = False
        self._transport.write(carried.message)

    @property
    def closed(self) -> bool:
        """Whether it ended while it was idle."""
        return self._transport.is_closing()

    def stand_by(self) -> bool:
        """Whether it is open and silent, as an idle one must be.

        What lies in the socket unread is a closed connection or an answer that nobody asked for.
        """
        if self._transport.is_closing():
            return False
        return self._readable is None or not self._readable.poll(0)

    def release(self) -> bool:
        """The call is over and the answer complete. Whether the connection can serve another; otherwise it closes."""
        self._carried = None
        self._parser.discard()
        self.used = True
        self.resume()
        transport = self._transport
        if self._parser.reusable and not transport.is_closing() and not transport.get_write_buffer_size():
            return True
        self.close()
        return False

    def close(self) -> None:
        """At once, whatever is under way, which is not told."""
        self._carried = None
        self._parser.discard()
        self._transport.abort()

    def pause(self) -> None:
        """Stops reading."""
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # What the event loop calls

    def data_received(self, data: bytes) -> None:
        carried, parser = self._carried, self._parser
        if carried is None:
            self.close()
            return
        self._heard = True
        body = parser.feed(data)
        carried.take(parser, body, self)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, cause: Exception | None) -> None:
        carried, parser = self._carried, self._parser
        if carried is None:
            return
        if cause is None and self._heard:
            parser.finish()
            carried.take(parser, b"", self)
        else:
            detail = type(cause).__name__ if cause is not None else "it was closed before an answer"
            self.close()
            carried.lost(HttpFailure(HttpFault.CUT, detail), heard=self._heard)
