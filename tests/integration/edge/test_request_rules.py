"""What a request must be before anybody looks at it (RFC 9112), and answers to clients that speak HTTP/1.0."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.integration.edge.wire import CHAT, HELLO, assert_shape, read_all, read_answer
from tests.worlds.in_process.http_edge import Edge, request_bytes
from tests.worlds.in_process.scripted_gateway import KEY

STREAM = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": True}).encode()


async def status_of(edge: Edge, data: bytes) -> int:
    """The status of the only answer, whose shape and end are checked when it is an error."""
    reader, writer = await edge.raw(data)
    status, headers, body = await read_answer(reader)
    if status >= 400:
        assert_shape(headers, body)
        assert await read_all(reader) == b""
    writer.close()
    return status


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a%4\r\n",
        "Host: a%zz:80\r\n",
        "Host: user@a\r\n",
        "Host: http://a\r\n",
        "Host: a,b\r\n",
        "Host: a:port\r\n",
        "Host: a:80:80\r\n",
        "Host: [::1\r\n",
        "Host: ::1\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a\\b\r\n",
        "Host: \xe4.example\r\n",
        "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        "Host: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Host: a\r\nTransfer-Encoding: identity\r\n",
        "Host: a\r\nTransfer-Encoding: gzip\r\n",
        "Host: a\r\nTransfer-Encoding:\r\n",
        "Host: a\r\nTransfer-Encoding: chunked;q=1\r\n",
        "Host: a\r\nTransfer-Encoding: xchunked\r\n",
        "Host: a\r\nContent-Length: " + "0" * 5000 + "5\r\n",
        "Host: a\r\nContent-Length: " + "9" * 5000 + "\r\n",
        "Host: a\r\nContent-Length: +5\r\n",
        "Host: a\r\nContent-Length: 5, 5\r\n",
        "Host: a\r\nContent-Length: 0x5\r\n",
        "Host: a\r\nContent-Length: 5 5\r\n",
        "Host: a\r\nContent-Length:\r\n",
        "Host: a\r\n folded: x\r\n",
        "Host: a\r\nX-A: b\r\n folded\r\n",
        "Host: a\nX-A: b\r\n",
        "Host: a\r\nX-A: \x00\r\n",
        "Host: a\r\n: x\r\n",
        "Host : a\r\n",
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/healthz"])
async def test_a_header_that_could_be_read_in_two_ways_is_refused(edge: Edge, path: str, lines: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n{lines}\r\n"
    assert await status_of(edge, head.encode("latin-1") + b"5\r\nhello\r\n0\r\n\r\n") == 400
    assert edge.gateway.opened == []


@pytest.mark.parametrize(
    "host", ["", "a", "a:", "a:8000", "A.example.com", "a_b.internal", "127.0.0.1:1", "[::1]:8000", "[2001:db8::1]"]
)
async def test_hosts_as_clients_write_them_pass(edge: Edge, host: str) -> None:
    assert await status_of(edge, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) == 200


@pytest.mark.parametrize("coding", ["chunked", "Chunked", " CHUNKED "])
async def test_chunked_in_any_case_passes(edge: Edge, coding: str) -> None:
    lines = f"Host: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nTransfer-Encoding: {coding}"
    data = f"POST {CHAT} HTTP/1.1\r\n{lines}\r\n\r\n".encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HELLO), HELLO)
    assert await status_of(edge, data) == 200


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/9.9", "HTTP/3.0"])
async def test_another_version_of_http_is_505(edge: Edge, version: str) -> None:
    assert await status_of(edge, f"GET /healthz {version}\r\nHost: x\r\n\r\n".encode()) == 505
    assert await status_of(edge, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == 505


@pytest.mark.parametrize(
    "line", ["GET /healthz HTTP/0.9", "GET /healthz", "GET /healthz HTTP/x.y", "GET /healthz HTTP/1"]
)
async def test_a_request_line_that_is_not_of_http_1_is_400(edge: Edge, line: str) -> None:
    assert await status_of(edge, f"{line}\r\nHost: x\r\n\r\n".encode()) == 400


@pytest.mark.parametrize("target", ["http://x/healthz", "http://other.example/healthz?a=b", "HTTP://x:80/healthz"])
async def test_a_target_that_is_a_whole_url_is_its_path(edge: Edge, target: str) -> None:
    assert await status_of(edge, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == 200


@pytest.mark.parametrize(
    ("line", "status"),
    [("CONNECT x:443", 400), ("GET http://x", 404), ("OPTIONS *", 404), ("GET //healthz", 404), ("GET x:443", 400)],
)
async def test_targets_that_lead_nowhere_have_their_error(edge: Edge, line: str, status: int) -> None:
    reader, writer = await edge.raw(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    found, headers, body = await read_answer(reader)
    assert found == status
    assert_shape(headers, body)
    writer.close()


async def test_hundreds_of_headers_are_431_however_short(edge: Edge) -> None:
    lines = "".join(f"x{number}:\r\n" for number in range(300))
    assert await status_of(edge, f"GET /healthz HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()) == 431


# Offers to speak another protocol

OFFER = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


async def test_many_pipelined_offers_are_all_declined(edge: Edge) -> None:
    one = f"GET /healthz HTTP/1.1\r\nHost: x\r\n{OFFER}\r\n".encode()
    reader, writer = await edge.raw(one * 700)
    answers = await read_all(reader)
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"HTTP/1.1 ") >= 30
    assert (await edge.client.get("/healthz")).status_code == 200
    writer.close()


@pytest.mark.parametrize("connection", ["close, Upgrade", "Upgrade,close", "upgrade, Close, HTTP2-Settings"])
async def test_an_offer_does_not_lose_the_close_beside_it(edge: Edge, connection: str) -> None:
    offer = f"Connection: {connection}\r\nUpgrade: h2c\r\n"
    reader, writer = await edge.raw(request_bytes("POST", CHAT, HELLO, extra=offer))
    status, headers, _ = await read_answer(reader)
    assert (status, headers["connection"]) == (200, "close")
    assert await read_all(reader) == b""
    writer.close()


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.0", "foo"])
async def test_an_offer_with_a_chunked_body_is_declined_and_its_body_read(edge: Edge, upgrade: str) -> None:
    lines = f"Host: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    head = f"POST {CHAT} HTTP/1.1\r\n{lines}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
    reader, writer = await edge.raw(head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HELLO), HELLO))
    assert (await read_answer(reader))[0] == 200
    writer.close()


# Pipelining


async def test_a_few_pipelined_requests_are_all_answered_in_order(edge: Edge) -> None:
    reader, writer = await edge.raw(request_bytes("GET", "/v1/models", b"") * 20 + request_bytes("POST", CHAT, HELLO))
    kinds = [(await read_answer(reader))[2]["object"] for _ in range(21)]
    assert kinds == ["list"] * 20 + ["chat.completion"]
    writer.close()


async def test_of_thousands_of_pipelined_requests_some_are_answered_and_the_connection_ends(edge: Edge) -> None:
    release = asyncio.Event()
    edge.gateway.before_first_token = release.wait
    reader, writer = await edge.raw(request_bytes("POST", CHAT, HELLO) + request_bytes("GET", "/healthz", b"") * 20_000)
    await asyncio.wait_for(edge.gateway.waiting.wait(), 5)
    release.set()
    answers = await read_all(reader)
    assert 1 < answers.count(b"HTTP/1.1 200 OK") < 100
    assert answers.count(b"\r\nconnection: close\r\n") == 1
    writer.close()


# HTTP/1.0


@pytest.mark.parametrize("extra", ["", "Connection: keep-alive\r\n"])
async def test_a_stream_to_http_1_0_is_plain_and_ended_by_closing(edge: Edge, extra: str) -> None:
    data = request_bytes("POST", CHAT, STREAM, extra=extra).replace(b"HTTP/1.1", b"HTTP/1.0")
    reader, writer = await edge.raw(data)
    head, _, body = (await read_all(reader)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")
    writer.close()


async def test_an_error_within_a_stream_to_http_1_0_is_plain_too(edge: Edge) -> None:
    edge.gateway.steps = [*edge.gateway.steps[:1], RuntimeError("broken")]
    data = request_bytes("POST", CHAT, STREAM).replace(b"HTTP/1.1", b"HTTP/1.0")
    reader, writer = await edge.raw(data)
    _, _, body = (await read_all(reader)).partition(b"\r\n\r\n")
    assert body.startswith(b"data: {")
    assert b'data: {"error"' in body
    assert b"[DONE]" not in body
    writer.close()


async def test_a_whole_answer_to_http_1_0_has_its_length_and_host_may_be_missing(edge: Edge) -> None:
    data = request_bytes("POST", CHAT, HELLO).replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host: x\r\n", b"")
    reader, writer = await edge.raw(data)
    status, headers, body = await read_answer(reader)
    assert (status, body["object"], headers["connection"]) == (200, "chat.completion", "close")
    assert await read_all(reader) == b""
    writer.close()


async def test_a_head_request_of_http_1_0_has_no_body(edge: Edge) -> None:
    reader, writer = await edge.raw(b"HEAD /openapi.json HTTP/1.0\r\n\r\n")
    head, _, body = (await read_all(reader)).partition(b"\r\n\r\n")
    assert (head.split()[1], body) == (b"200", b"")
    writer.close()
