"""Web pages: no origin by default, exactly the named ones otherwise, on every kind of answer (docs/wire.md)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from common.reasons import Reason
from servicekit.errors import StartupError
from services.edge.endpoints.endpoint import HotLimits
from services.edge.http.cors import Cors
from services.edge.http.protocol import Bounds
from services.edge.peers.errors import KeyRevoked, Refused
from services.edge.serving.answer import Batch, Delta
from tests.worlds.in_process.http_edge import StartEdge, request_bytes
from tests.worlds.in_process.scripted_gateway import KEY, ScriptedGateway

CHAT = "/v1/chat/completions"
PAGE = "https://app.example.com"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def cors_of(answer: httpx.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


async def test_by_default_no_page_may_read_anything(start_edge: StartEdge) -> None:
    edge = await start_edge()
    for answer in (
        await edge.client.post(CHAT, json=HELLO, headers={"origin": PAGE}),
        await edge.client.options(CHAT, headers=PREFLIGHT),
        await edge.client.get("/v1/models", headers={"origin": PAGE}),
    ):
        assert cors_of(answer) == set()
        assert "vary" not in answer.headers


async def test_a_preflight_is_answered_without_a_key(start_edge: StartEdge) -> None:
    edge = await start_edge(cors=f"http://localhost:3000, {PAGE}")
    async with httpx.AsyncClient(base_url=edge.url) as browser:
        answer = await browser.options(CHAT, headers=PREFLIGHT)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == PREFLIGHT["access-control-request-headers"]
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in answer.headers
    assert "origin" in answer.headers["vary"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_named_page_reads_answers_and_their_headers(start_edge: StartEdge, stream: bool) -> None:
    edge = await start_edge(cors=PAGE)
    answer = await edge.client.post(CHAT, json={**HELLO, "stream": stream}, headers={"origin": PAGE})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "origin"
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"x-request-id", "retry-after", "x-muhgpt-max-tokens", "x-ratelimit-remaining-requests"} <= exposed
    ours = {name for name in answer.headers if name.startswith(("x-ratelimit", "x-muhgpt", "x-request"))}
    assert ours <= exposed
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example.com.evil.example", "null", None])
async def test_a_page_that_is_not_named_is_allowed_nothing(start_edge: StartEdge, origin: str | None) -> None:
    edge = await start_edge(cors=PAGE)
    headers = {} if origin is None else {"origin": origin}
    answer = await edge.client.post(CHAT, json=HELLO, headers=headers)
    assert cors_of(answer) == set()
    assert answer.headers["vary"] == "origin"  # a cache must not give this answer to the named page
    preflight = await edge.client.options(CHAT, headers={**PREFLIGHT, "origin": origin or ""})
    assert cors_of(preflight) == set()


async def test_every_page_has_to_be_written_out(start_edge: StartEdge) -> None:
    edge = await start_edge(cors="*")
    answer = await edge.client.get("/v1/models", headers={"origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers
    assert (await edge.client.options(CHAT, headers=PREFLIGHT)).headers["access-control-allow-origin"] == "*"


async def test_errors_can_be_read_too(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(open_error=Refused(Reason.RATE_LIMITED, retry_after=1)), cors=PAGE)
    page = {"origin": PAGE}
    answers = [
        await edge.client.post(CHAT, json=HELLO, headers=page),
        await edge.client.post(CHAT, json={}, headers=page),
        await edge.client.post(CHAT, json=HELLO, headers={**page, "authorization": "Bearer no"}),
        await edge.client.get("/v1/nothing", headers=page),
        await edge.client.get(CHAT, headers=page),
        await edge.client.get("/v1/models", headers={**page, "authorization": "Bearer no"}),
    ]
    assert [answer.status_code for answer in answers] == [429, 400, 401, 404, 405, 401]
    assert {answer.headers["access-control-allow-origin"] for answer in answers} == {PAGE}


async def test_an_error_within_a_stream_can_be_read(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(steps=[Batch([Delta(0, "a")]), KeyRevoked()]), cors=PAGE)
    answer = await edge.client.post(CHAT, json={**HELLO, "stream": True}, headers={"origin": PAGE})
    assert "key_revoked" in answer.text
    assert answer.headers["access-control-allow-origin"] == PAGE


async def test_refusals_below_the_application_can_be_read(start_edge: StartEdge) -> None:
    edge = await start_edge(
        bounds=Bounds(header_bytes=2000, body_timeout=0.05), limits=HotLimits(max_body_bytes=500), cors=PAGE
    )
    origin = f"Origin: {PAGE}\r\n"
    for data, status in (
        (request_bytes("POST", CHAT, b"{" * 50, extra=origin)[:-10], 408),
        (request_bytes("POST", CHAT, b"{" * 501, extra=origin), 413),
        (request_bytes("GET", CHAT, b"", extra=origin + f"X-Filler: {'x' * 3000}\r\n"), 431),
    ):
        reader, writer = await edge.raw(data)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
        assert head.startswith(f"HTTP/1.1 {status} ")
        assert f"access-control-allow-origin: {PAGE}\r\n" in head
        writer.close()


async def test_health_is_not_for_pages(start_edge: StartEdge) -> None:
    edge = await start_edge(cors="*")
    for path in ("/healthz", "/readyz"):
        answer = await edge.client.get(path, headers={"origin": PAGE, "authorization": f"Bearer {KEY}"})
        assert (answer.status_code, cors_of(answer)) == (200, set())
        assert cors_of(await edge.client.options(path, headers=PREFLIGHT)) == set()
    assert cors_of(await edge.client.get("/openapi.json", headers={"origin": PAGE}))


@pytest.mark.parametrize(
    "wrong",
    ["app.example.com", "https://app.example.com/", "https://App.example.com", "null", "https://*.example.com", "*x"],
)
def test_what_is_no_origin_stops_the_start(wrong: str) -> None:
    with pytest.raises(StartupError, match="MUHGPT_EDGE_CORS_ORIGINS"):
        Cors.parse(f"{PAGE},{wrong}")


@pytest.mark.parametrize(("text", "is_on"), [(None, False), ("", False), (" , ", False), ("http://[::1]:3000", True)])
def test_nothing_named_is_off(text: Any, is_on: bool) -> None:
    assert (Cors.parse(text) is not None) is is_on
