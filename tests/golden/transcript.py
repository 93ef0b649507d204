"""An exchange as text that a person can read and compare, and from which the answer's bytes can be had again."""

from __future__ import annotations

import asyncio
import re

from tests.golden.exchanges import Exchange
from tests.worlds.in_process.http_edge import Edge

FOLD = "↵\n"  # stands where a line of JSON was broken, and nowhere else
HEADER_LIMIT = 8 * 1024
REQUEST_ID = "req_" + "0123456789abcdef" * 2


async def record(edge: Edge, exchange: Exchange) -> str:
    """Sends the request and writes down both sides.

    Left out are the date, how the body was cut for transfer, and the id that the protocol gives to what never reaches
    the application.
    """
    sent = request_of(exchange)
    reader, writer = await edge.raw(sent)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = re.sub(r"date: [^\r]+", "date: (now)", head.decode()).replace("\r\n", "\n")
    if REQUEST_ID not in headers:
        headers = re.sub(r"req_[0-9a-f]{32}\b", "req_(random)", headers)
    if b"transfer-encoding: chunked" in head:
        body = dechunked(body)
    return f"{_shown(sent)}\n\n{headers}\n\n{_folded(body.decode())}\n"


def request_of(exchange: Exchange) -> bytes:
    """The request's bytes."""
    headers = [("host", "api.example.com"), ("connection", "close"), *exchange.headers]
    if exchange.name.startswith("431"):
        headers.append(("x-filler", "x" * HEADER_LIMIT))
    if exchange.body:
        headers.append(("content-length", str(len(exchange.body))))
    lines = [f"{exchange.method} {exchange.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode() + exchange.body


def dechunked(data: bytes) -> bytes:
    """The body without its framing (RFC 9112 §7.1); the framing must be sound and end."""
    body = b""
    while True:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        piece, data = rest[:length], rest[length:]
        assert len(piece) == length
        assert data.startswith(b"\r\n")
        data = data[2:]
        if not length:
            assert data == b""
            return body
        body += piece


def _shown(sent: bytes) -> str:
    """Long filler would hide the rest."""
    text = sent.decode().replace("\r\n", "\n").rstrip()
    return re.sub(r"x{100,}", "x…x", text)


def _folded(body: str) -> str:
    """Whole JSON documents get a line a member, so that a change shows where it is; events have one each anyway."""
    return re.sub(r'(?<=[\]}"\w]),(?=")', f",{FOLD}", body) if body.startswith("{") else body
