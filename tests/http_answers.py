"""Answers of HTTP/1.1 by their grammar and beside it, as lists of parts, for the client toward upstreams."""

from __future__ import annotations

from hypothesis import strategies as st

VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"])
STATUSES = st.sampled_from([b"200 OK", b"200 OK", b"200", b"200 ", b"404 Not Found", b"500 \xc3\xa9", b"302 Found"])
BODILESS = st.sampled_from([b"204 No Content", b"304 Not Modified"])
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])
NAMES = st.sampled_from([b"X-A", b"x-a", b"Content-Type", b"Set-Cookie", b"Retry-After", b"Location", b"Server"])
VALUES = st.sampled_from([b"", b"a", b" a  \t", b"a: b, c", b"\xff\xc3\xa9", b"x" * 4000, b"text/event-stream; a=b"])
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
CONNECTIONS = st.sampled_from([b"", b"", b"Connection: close", b"Connection: keep-alive", b"connection: Close, x"])
BODIES = st.binary(max_size=60) | st.sampled_from(
    [b"data: {}\n\n" * 30, b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]
)
INTERIM = st.sampled_from(
    [b"", b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" * 3]
)
EXTENSIONS = st.sampled_from([b"", b"", b"", b";a=b", b";a", b";a=b;c"])
TRAILERS = st.lists(st.sampled_from([b"X-T: a", b"Content-Length: 9", b"Set-Cookie: a=b"]), max_size=3)


@st.composite
def heads(draw: st.DrawFn, *framing: bytes, statuses: st.SearchStrategy[bytes] = STATUSES) -> list[bytes]:
    """Status line and header, with the lines of its framing somewhere among them."""
    end = draw(ENDS)
    lines = [name + b":" + b" " * draw(st.integers(0, 2)) + value for name, value in draw(HEADERS)]
    lines += [line for line in (*framing, draw(CONNECTIONS)) if line]
    lines = draw(st.permutations(lines))
    return [draw(INTERIM), draw(VERSIONS) + b" " + draw(statuses) + end, *(line + end for line in lines), end]


@st.composite
def sized(draw: st.DrawFn) -> list[bytes]:
    """An answer with its length."""
    body = draw(BODIES)
    return [*draw(heads(b"Content-Length: %d" % len(body))), body]


@st.composite
def chunked(draw: st.DrawFn) -> list[bytes]:
    """An answer in chunks, with extensions and trailers."""
    parts = draw(heads(draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:  CHUNKED"]))))
    for body in draw(st.lists(BODIES.filter(bool), max_size=5)):
        size = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % len(body)
        parts += [size + draw(EXTENSIONS) + b"\r\n", body, b"\r\n"]
    trailers = draw(TRAILERS)
    return [*parts, b"0" + draw(EXTENSIONS) + b"\r\n", *(line + b"\r\n" for line in trailers), b"\r\n"]


@st.composite
def until_closed(draw: st.DrawFn) -> list[bytes]:
    """An answer that ends with its connection."""
    return [*draw(heads()), draw(BODIES)]


@st.composite
def bodiless(draw: st.DrawFn) -> list[bytes]:
    """An answer that has no body by its status."""
    framing = draw(st.sampled_from([b"", b"Content-Length: 9"]))
    return draw(heads(*([framing] if framing else []), statuses=BODILESS))


ANSWERS = sized() | chunked() | until_closed() | bodiless()
WRONG = st.sampled_from(
    [
        *(
            b"",
            b"\r",
            b"\n",
            b"\0",
            b"\x7f",
            b" ",
            b":",
            b"\r\n",
            b"\r\n\r\n",
            b"0",
            b"-1",
            b"ffffffffffffffff",
            b"9" * 400,
        ),
        *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"X" * 9000),
        *(b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 100 Go\r\n\r\n", b"HTTP/2.0", b"101 Switch", b"a: b\r\n" * 130),
    ]
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """An answer with parts left out, repeated, in another place or replaced, and perhaps bytes of it too."""
    parts = list(draw(ANSWERS))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(parts) - 1))
        kind = draw(st.sampled_from(["remove", "repeat", "move", "insert", "replace"]))
        part = parts[place]
        if kind in ("remove", "move", "replace"):
            parts[place] = b""
        if kind in ("repeat", "move"):
            parts.insert(draw(st.integers(0, len(parts))), part)
        elif kind in ("insert", "replace"):
            parts.insert(place, draw(WRONG))
    data = bytearray(b"".join(parts))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 12))] = draw(st.binary(max_size=4))
    return bytes(data)
