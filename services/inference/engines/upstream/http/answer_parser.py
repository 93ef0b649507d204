"""Reads one answer of HTTP/1.1 from bytes, within bounds; it touches no socket.

The grammar is llhttp's, through httptools. What stands here is what a client must not leave to it: what is not taken,
what each part may cost, and whether the connection can serve another request afterwards (RFC 9112, 6 and 9).
"""

from __future__ import annotations

import httptools

from services.inference.engines.upstream.http.receiver import HttpFailure, HttpFault

MAX_HEADER = 8190  # bytes of one header line's name and value, or of the reason behind a status
MAX_HEADERS = 128  # of one answer, informational ones and trailers among them
MAX_HEAD = 64 * 1024  # bytes of all their names and values; twice that with blanks and line ends
MAX_INFORMATIONAL = 64  # answers before the one that counts
# Chunk sizes, their extensions and trailers are not body. A server that makes each byte a chunk sends five beside it.
MAX_FRAMING = 64 * 1024  # bytes of them …
MAX_FRAMING_RATIO = 8  # … beside so much for each byte of the body
SWITCHING_PROTOCOLS = 101
BODILESS = (101, 204, 304)
VERSIONS = ("1.1", "1.0")


class _Stop(Exception):
    """Ends the parser's run from within a callback."""


class AnswerParser:
    """One answer. `feed` it what comes; `status`, `headers`, `complete`, `failure` say how far it is."""

    __slots__ = (
        *("status", "headers", "complete", "failure", "reusable", "_parser", "_pieces", "_headers", "_version"),
        *("_count", "_fed", "_head_bytes", "_body_bytes", "_framing", "_bare", "_informational", "_skipping"),
        "_until_close",
    )

    def __init__(self) -> None:
        self.status = 0  # 0: the header has not ended yet
        self.headers: dict[bytes, bytes] = {}  # the answer's own, when there is a status
        self.complete = False
        self.failure: HttpFailure | None = None
        self.reusable = False  # when complete: nothing in this answer speaks against another on the same connection
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        # Bare line feeds and blanks behind a chunk's size are taken, as browsers and aiohttp take them.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)
        self._pieces: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._fed = self._head_bytes = self._body_bytes = self._framing = self._bare = 0
        self._count = self._informational = 0
        self._skipping = self._until_close = False

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in this piece. After a failure or the end nothing more must be fed."""
        assert self._parser is not None
        in_body = self.status != 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.reusable = False
        except httptools.HttpParserError:
            self._stopped()
        body = self._taken()
        if self.status == 0:
            self._fed += len(data)
            if self._fed > 2 * MAX_HEAD:
                self._oversized("its header is too large")
        elif in_body and not self.complete:
            self._bound_framing(len(data), len(body))
        return body

    def discard(self) -> None:
        """Nothing more will be fed. The parsers refer to each other; so they go at once, without the collector."""
        self._parser = None

    def finish(self) -> None:
        """The connection has ended, and in order: that is the end of an answer without a length, and cuts others."""
        if self.complete or self.failure is not None:
            return
        if self._until_close and self.status:
            self.complete = True
        else:
            self.failure = HttpFailure(HttpFault.CUT, "it was closed before the answer's end")

    # What httptools calls

    def on_message_begin(self) -> None:
        if self.complete:  # bytes behind the end: another answer, to no request of ours
            raise _Stop
        self._skipping = False

    def on_status(self, reason: bytes) -> None:
        if len(reason) > MAX_HEADER:
            self._oversized("its status line is too large")
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        size = len(name) + len(value)
        self._count += 1
        self._head_bytes += size
        if size > MAX_HEADER or self._count > MAX_HEADERS or self._head_bytes > MAX_HEAD:
            self._oversized("a header is too large" if size > MAX_HEADER else "it has too many headers")
            raise _Stop
        if not self.status:  # trailers are not headers
            name, value = name.lower(), value.rstrip(b" \t")
            held = self._headers.get(name)
            self._headers[name] = value if held is None else held + b", " + value

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status, headers, self._headers = self._parser.get_status_code(), self._headers, {}
        framed = b"content-length" in headers or b"transfer-encoding" in headers
        version = self._parser.get_http_version()
        if version not in VERSIONS:
            return self._malformed("its version is not 1.0 or 1.1")
        if status < 100:
            return self._malformed("its status is below 100")
        if status < 200 and status != SWITCHING_PROTOCOLS:
            return self._skip(framed)
        if headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            return self._malformed("its transfer encoding is not chunked")
        self._until_close = not framed and status not in BODILESS
        self.reusable = version == "1.1" and status != SWITCHING_PROTOCOLS and self._parser.should_keep_alive()
        self.status, self.headers = status, headers
        return None

    def _skip(self, framed: bool) -> None:
        self._informational += 1
        self._skipping = True
        if framed:
            self._malformed("an informational answer has a body")
        if self._informational > MAX_INFORMATIONAL:
            self._oversized("it has too many informational answers before it")
            raise _Stop

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self.complete = not self._skipping

    # Bounds and failures

    def _taken(self) -> bytes:
        pieces = self._pieces
        if not pieces:
            return b""
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._body_bytes += len(body)
        return body

    def _bound_framing(self, fed: int, body: int) -> None:
        """Framing has its share of the whole, and of what comes without a byte of body (the parser keeps trailers)."""
        self._framing += fed - body
        self._bare = 0 if body else self._bare + fed
        if self._framing > MAX_FRAMING + MAX_FRAMING_RATIO * self._body_bytes or self._bare > MAX_FRAMING:
            self._oversized("the framing of its chunks is too large")

    def _stopped(self) -> None:
        if self.complete:  # whatever stands behind the end
            self.reusable = False
        elif self.failure is None:
            self.failure = HttpFailure(HttpFault.MALFORMED, "it is not HTTP/1.1")

    def _malformed(self, detail: str) -> None:
        self.failure = HttpFailure(HttpFault.MALFORMED, detail)
        raise _Stop

    def _oversized(self, detail: str) -> None:
        self.failure = HttpFailure(HttpFault.OVERSIZED, detail)
