"""What comes with a chunked body beside the body: trailers, extensions, and all of it without end (G13)."""

from __future__ import annotations

import asyncio
import json

import psutil
import pytest

from services.edge.http.protocol import Bounds
from tests.integration.edge.wire import CHAT, HELLO, assert_shape, read_all, read_answer, send_until_cut
from tests.worlds.in_process.http_edge import Edge, StartEdge
from tests.worlds.in_process.scripted_gateway import KEY

MIB = 1024 * 1024
SMALL = Bounds(header_bytes=16 * 1024, linger_bytes=8 * MIB, linger_timeout=5)


def chunked(*, key: str | None = KEY, path: str = CHAT, method: str = "POST") -> bytes:
    """A header that announces chunks."""
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{authorization}Content-Type: application/json\r\n"
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


ENDLESS = {
    "trailer lines": (b"0\r\n", b"a:b\r\n" * 4096),
    "one trailer's value": (b"0\r\na: ", b"b" * 65536),
    "one trailer's name": (b"0\r\n", b"b" * 65536),
    "an extension of the first chunk": (b"5;a=", b"b" * 65536),
    "an extension of the last chunk": (b"0;a=", b"b" * 65536),
    "chunks of one byte": (b"", b"1\r\nx\r\n" * 8192),
    "zeros of a chunk's size": (b"", b"0" * 65536),
}


@pytest.mark.parametrize("key", [KEY, None], ids=["with a key", "without a key"])
@pytest.mark.parametrize("kind", ENDLESS)
async def test_framing_without_end_is_refused_and_the_connection_ends(
    start_edge: StartEdge, kind: str, key: str | None
) -> None:
    edge = await start_edge(bounds=SMALL)
    start, piece = ENDLESS[kind]
    before = psutil.Process().memory_info().rss
    reader, writer = await edge.raw(chunked(key=key) + start)
    sending = asyncio.create_task(send_until_cut(writer, piece, 64 * MIB))
    status, headers, body = await read_answer(reader)
    assert_shape(headers, body)
    assert headers["connection"] == "close"
    assert status in ((401, 431) if key is None else (400, 431))  # whichever is known first
    assert await read_all(reader) == b""
    assert await sending < 64 * MIB, "the server cut the connection"
    assert psutil.Process().memory_info().rss - before < 32 * MIB
    assert edge.gateway.opened == []
    writer.close()


async def test_a_client_that_was_refused_and_goes_on_sending_is_cut_in_time(start_edge: StartEdge) -> None:
    edge = await start_edge(bounds=Bounds(linger_timeout=0.05))
    reader, writer = await edge.raw(chunked(key=None) + b"0\r\n")
    assert (await read_answer(reader))[0] == 401

    async def drip() -> None:
        while True:
            writer.write(b"a: b\r\n")
            await writer.drain()
            await asyncio.sleep(0.005)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(drip(), 5)
    writer.close()


@pytest.mark.parametrize("trailer", [f"Authorization: Bearer {KEY}", f"authorization:Bearer {KEY}"])
async def test_a_key_in_a_trailer_is_no_key(edge: Edge, trailer: str) -> None:
    data = chunked(key=None) + chunk(HELLO) + f"0\r\n{trailer}\r\n\r\n".encode()
    reader, writer = await edge.raw(data)
    status, headers, body = await read_answer(reader)
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    assert_shape(headers, body)
    assert edge.gateway.opened == []
    writer.close()


@pytest.mark.parametrize(
    "trailer",
    ["Content-Type: text/plain", "Authorization: Bearer mghp_other", "Content-Encoding: gzip", "Host: y", "X-A: b"],
)
async def test_a_trailer_changes_nothing_of_the_request(edge: Edge, trailer: str) -> None:
    reader, writer = await edge.raw(chunked() + chunk(HELLO) + f"0\r\n{trailer}\r\n\r\n".encode())
    assert (await read_answer(reader))[0] == 200
    writer.write(chunked() + chunk(HELLO) + b"0\r\n\r\n")  # and nothing of the next one
    assert (await read_answer(reader))[0] == 200
    writer.close()


async def test_a_body_in_reasonable_chunks_with_extensions_and_a_trailer_is_read(edge: Edge) -> None:
    text = "x" * 200_000
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    pieces = [body[start : start + 64] for start in range(0, len(body), 64)]
    data = b"".join(b"%x;n=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    reader, writer = await edge.raw(chunked() + data + b"0\r\nDigest: none\r\n\r\n")
    assert (await read_answer(reader))[0] == 200
    assert text in str(edge.gateway.opened[0].request)
    writer.close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/nowhere", "/v1/models"])
async def test_an_answer_before_the_body_came_ends_the_connection(
    start_edge: StartEdge, method: str, path: str
) -> None:
    edge = await start_edge(bounds=SMALL)
    reader, writer = await edge.raw(chunked(method=method, path=path))
    sending = asyncio.create_task(send_until_cut(writer, chunk(b"x" * 65536), 64 * MIB))
    answer = await read_all(reader)
    assert answer.startswith(b"HTTP/1.1 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert await sending < 64 * MIB
    writer.close()
