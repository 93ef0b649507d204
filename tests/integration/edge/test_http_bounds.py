"""HTTP-level ends: one error shape, bounds and time-outs below the application (G10, docs/wire.md)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from services.edge.endpoints.endpoint import HotLimits
from services.edge.http.protocol import Bounds
from tests.worlds.in_process.http_edge import Edge, StartEdge, request_bytes
from tests.worlds.in_process.scripted_gateway import KEY

CHAT = "/v1/chat/completions"
HELLO = json.dumps({"messages": [{"role": "user", "content": "Hello"}]}).encode()


async def read_answer(reader: asyncio.StreamReader, timeout: float = 5) -> tuple[int, dict[str, str], Any]:
    async with asyncio.timeout(timeout):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, json.loads(body)


def assert_shape(headers: dict[str, str], body: Any) -> None:
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert headers["x-request-id"].startswith("req_")
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: banana\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Nul: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Bare: a\nb: c\rd\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n",
    ],
)
async def test_a_malformed_request_gets_the_one_shape(edge: Edge, data: bytes) -> None:
    reader, writer = await edge.raw(data)
    status, headers, body = await read_answer(reader)
    assert status == 400
    assert_shape(headers, body)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_malformed_chunk_ends_the_request(edge: Edge) -> None:
    head = request_bytes("POST", CHAT, b"", extra="Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n")
    reader, writer = await edge.raw(head.replace(b"Content-Length: 0\r\n", b"") + b"zz\r\nboom\r\n")
    status, headers, body = await read_answer(reader)
    assert status == 400
    assert_shape(headers, body)
    writer.close()


@pytest.mark.parametrize("pieces", [1, 40])
async def test_a_header_beyond_its_bound_is_431(start_edge: StartEdge, pieces: int) -> None:
    edge = await start_edge(bounds=Bounds(header_bytes=16 * 1024))
    reader, writer = await edge.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    line = b"X-Filler: " + b"a" * (20_000 // pieces) + b"\r\n"
    for _ in range(pieces):
        writer.write(line)
        await asyncio.sleep(0.001)
    writer.write(b"\r\n")
    status, headers, body = await read_answer(reader)
    assert status == 431
    assert_shape(headers, body)
    writer.close()


async def test_a_header_within_its_bound_passes(start_edge: StartEdge) -> None:
    edge = await start_edge(bounds=Bounds(header_bytes=16 * 1024))
    answer = await edge.client.get("/healthz", headers={"x-filler": "a" * 15_000})
    assert answer.status_code == 200


async def test_a_header_that_stalls_is_408(start_edge: StartEdge) -> None:
    edge = await start_edge(bounds=Bounds(header_timeout=0.05))
    reader, writer = await edge.raw(b"GET /healthz HTTP/1.1\r\nHost:")
    status, headers, body = await read_answer(reader)
    assert status == 408
    assert_shape(headers, body)
    writer.close()


async def test_a_connection_that_says_nothing_is_closed(start_edge: StartEdge) -> None:
    edge = await start_edge(bounds=Bounds(header_timeout=0.05))
    reader, writer = await edge.raw(b"")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


@pytest.mark.parametrize("stalls", ["between pieces", "in all"])
async def test_a_body_that_stalls_is_408(start_edge: StartEdge, stalls: str) -> None:
    slow = stalls == "between pieces"
    edge = await start_edge(bounds=Bounds(body_timeout=0.05 if slow else 5, upload_timeout=5 if slow else 0.05))
    reader, writer = await edge.raw(request_bytes("POST", CHAT, HELLO)[:-10])
    status, headers, body = await read_answer(reader)
    assert status == 408
    assert_shape(headers, body)
    assert edge.gateway.opened == []
    writer.close()


async def test_a_slow_answer_is_not_a_slow_client(start_edge: StartEdge) -> None:
    edge = await start_edge(bounds=Bounds(header_timeout=0.03, body_timeout=0.03, upload_timeout=0.03))

    async def think() -> None:
        await asyncio.sleep(0.09)

    edge.gateway.before_first_token = think
    for _ in range(2):
        assert (await edge.chat()).status_code == 200


async def test_line_ends_alone_do_not_hold_a_connection(start_edge: StartEdge) -> None:
    edge = await start_edge(bounds=Bounds(header_timeout=0.05))
    reader, writer = await edge.raw(b"\r\n\r\n")
    assert b"408" in await asyncio.wait_for(reader.read(), 5)
    writer.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_413_is_readable_by_a_client_that_is_still_uploading(start_edge: StartEdge, chunked: bool) -> None:
    edge = await start_edge(limits=HotLimits(max_body_bytes=1024 * 1024))
    size, piece = 64 * 1024 * 1024, b"x" * 65536
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{length}\r\n\r\n"
    reader, writer = await edge.raw(head.encode())
    for _ in range(size // len(piece)):  # a client that reads only when it has sent everything
        writer.write(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
        await writer.drain()
    status, headers, body = await read_answer(reader)
    assert status == 413
    assert headers["connection"] == "close"
    assert_shape(headers, body)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert edge.gateway.opened == []
    writer.close()


async def test_a_declared_length_beyond_the_limit_is_refused_before_a_byte_is_read(edge: Edge) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 999999999\r\n\r\n"
    reader, writer = await edge.raw(head.encode())
    status, _, body = await read_answer(reader)
    assert status == 413
    assert body["error"]["type"] == "invalid_request_error"
    writer.close()


async def test_a_client_that_asks_first_is_told_to_keep_its_body(edge: Edge) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(HELLO)}\r\n"
    reader, writer = await edge.raw(f"{head}Authorization: Bearer wrong\r\n\r\n".encode())
    status, _, _ = await read_answer(reader)
    assert status == 401
    writer.close()


async def test_a_client_that_asks_first_is_told_to_go_on(edge: Edge) -> None:
    head, _, body = request_bytes("POST", CHAT, HELLO, extra="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    reader, writer = await edge.raw(head + b"\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    status, _, answer = await read_answer(reader)
    assert (status, answer["object"]) == (200, "chat.completion")
    writer.close()


@pytest.mark.parametrize("second", [f"Bearer {KEY}", "Bearer mghp_other", "Basic eDp5", ""])
@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("GET", "/v1/models")])
async def test_of_two_credentials_none_is_believed(edge: Edge, method: str, path: str, second: str) -> None:
    reader, writer = await edge.raw(request_bytes(method, path, HELLO, extra=f"Authorization: {second}\r\n"))
    status, headers, body = await read_answer(reader)
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    assert_shape(headers, body)
    assert edge.gateway.opened == []
    writer.close()


async def test_what_follows_a_body_is_a_request_of_its_own_and_not_smuggled_into_it(edge: Edge) -> None:
    second = request_bytes("GET", "/v1/models", b"")
    reader, writer = await edge.raw(request_bytes("POST", CHAT, HELLO) + second)
    kinds = [(await read_answer(reader))[2]["object"] for _ in range(2)]
    assert kinds == ["chat.completion", "list"]
    writer.close()


async def test_a_401_is_readable_by_a_client_that_is_still_uploading(edge: Edge) -> None:
    size, piece = 16 * 1024 * 1024, b"x" * 65536
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    reader, writer = await edge.raw(head.encode())
    for _ in range(size // len(piece)):
        writer.write(piece)
        await writer.drain()
    status, headers, body = await read_answer(reader)
    assert status == 401
    assert_shape(headers, body)
    writer.close()


async def test_an_upgrade_that_is_not_spoken_is_ignored(edge: Edge) -> None:
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    reader, writer = await edge.raw(request_bytes("POST", CHAT, HELLO, extra=offer))
    status, _, body = await read_answer(reader)
    assert status == 200
    assert body["object"] == "chat.completion"
    writer.close()


async def test_nonsense_after_a_request_waits_for_its_answer_and_ends_the_connection(edge: Edge) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": True}).encode()
    reader, writer = await edge.raw(request_bytes("POST", CHAT, body) + b"nonsense\r\n\r\n")
    everything = (await asyncio.wait_for(reader.read(), 5)).decode()
    head, _, rest = everything.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200")
    assert "HTTP/1.1" not in rest
    assert "data: [DONE]" in rest
    writer.close()


async def test_a_client_that_leaves_while_it_uploads_costs_nothing(edge: Edge) -> None:
    _, writer = await edge.raw(request_bytes("POST", CHAT, HELLO)[:-10])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await edge.chat()).status_code == 200
    assert len(edge.gateway.opened) == 1
