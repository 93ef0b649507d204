"""How much the guarded fetcher takes and how long it waits, with a real server on loopback."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from services.inference.images.fetcher import FetchLimits, ImageFetcher
from tests.integration.inference.image_site import FILE, PARAM, Server, fetching, refusal, serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


async def test_a_file_that_says_it_is_too_large_is_not_read(server: Server) -> None:
    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "5000000"})
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    server.answers["/large"] = large
    async with fetching(file_bytes=1000) as fetcher:
        assert "larger than 1,000 bytes" in await refusal(fetcher, server.url("/large"))
        await asyncio.wait_for(server.left.wait(), 5)


async def test_an_endless_file_is_cut_at_the_bound(server: Server) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)
            sent += 10_000

    server.answers["/endless"] = endless
    async with fetching(file_bytes=100_000) as fetcher:
        assert "larger than 100,000 bytes" in await refusal(fetcher, server.url("/endless"))
        await asyncio.wait_for(server.left.wait(), 5)
    assert sent < 50_000_000, "what the sockets' buffers take, and no more"


async def test_a_server_that_drips_is_left_when_the_time_is_over(server: Server) -> None:
    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.01)

    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    server.answers |= {"/dripping": dripping, "/silent": silent}
    async with fetching(timeout=0.2) as fetcher:
        for path in server.answers:
            assert "within 0.2 s" in await refusal(fetcher, server.url(path))
            await asyncio.wait_for(server.left.wait(), 5)
            server.left.clear()


async def test_a_name_server_that_does_not_answer_is_left_when_the_time_is_over() -> None:
    async def never(host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    fetcher = ImageFetcher(FetchLimits(timeout=0.05), never)
    assert "within 0.05 s" in await refusal(fetcher, "http://example.com/")
    await fetcher.close()


async def test_redirects_share_one_time(server: Server) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.09)
        return web.Response(status=302, headers={"Location": "/slow"})

    server.answers["/slow"] = slow
    async with fetching(timeout=0.2) as fetcher:
        assert "within 0.2 s" in await refusal(fetcher, server.url("/slow"))


@pytest.mark.parametrize("status", [204, 206, 401, 404, 500])
async def test_another_status_is_told(server: Server, status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"WWW-Authenticate": "Basic"})

    server.answers["/"] = answer
    async with fetching() as fetcher:
        assert f"status was {status}" in await refusal(fetcher, server.url("/"))
    assert len(server.requests) == 1


async def test_a_compressed_answer_is_not_unpacked(server: Server) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"\x00" * 1_000_000), headers={"Content-Encoding": "gzip"})

    server.answers["/"] = answer
    async with fetching() as fetcher:
        assert "compressed" in await refusal(fetcher, server.url("/"))


async def test_a_server_that_is_not_there_or_speaks_something_else_is_one_error() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    async with fetching() as fetcher:
        spoke = await refusal(fetcher, f"http://127.0.0.1:{port}/")
        other.close()
        await other.wait_closed()
        assert await refusal(fetcher, f"http://127.0.0.1:{port}/") == spoke
    assert "ESMTP" not in spoke


async def test_downloads_are_bounded_in_number(server: Server) -> None:
    running = most = 0
    go = asyncio.Event()

    async def counted(request: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            go.set()
        await go.wait()
        running -= 1
        return web.Response(body=FILE)

    server.answers["/"] = counted
    async with fetching(at_once=3) as fetcher:
        files = await asyncio.gather(*(fetcher.fetch(server.url("/"), PARAM) for _ in range(9)))
    assert files == [FILE] * 9
    assert most == 3


async def test_a_download_that_is_cancelled_leaves_its_server(server: Server) -> None:
    arrived = asyncio.Event()

    async def silent(request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    server.answers["/"] = silent
    async with fetching() as fetcher:
        task = asyncio.create_task(fetcher.fetch(server.url("/"), PARAM))
        await asyncio.wait_for(arrived.wait(), 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(server.left.wait(), 5)
