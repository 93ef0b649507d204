"""A server that stops lets its answers end, and says so to those that take too long (G9)."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from services.edge.serving.answer import Batch, Delta
from tests.worlds.in_process.http_edge import StartEdge
from tests.worlds.in_process.scripted_gateway import ScriptedGateway, text_answer


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_runs_when_the_server_stops_ends_whole(start_edge: StartEdge, stream: bool) -> None:
    reached, released = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await released.wait()

    edge = await start_edge(ScriptedGateway(steps=[Batch([Delta(0, "Hello")]), wait, *text_answer(" there")]))
    running = asyncio.create_task(edge.chat(stream=stream))
    await reached.wait()
    edge.server.stop()
    async with asyncio.timeout(5), httpx.AsyncClient() as newcomer:
        while await connects(newcomer, edge.url):  # noqa: ASYNC110  (uvicorn tells nobody)
            await asyncio.sleep(0.01)
    released.set()
    answer = await asyncio.wait_for(running, 5)
    assert answer.status_code == 200
    assert " there" in answer.text


async def connects(client: httpx.AsyncClient, url: str) -> bool:
    try:
        await client.get(f"{url}/healthz", headers={"connection": "close"})
    except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
        return False
    return True


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_outlasts_the_drain_is_told_why_it_ends(start_edge: StartEdge, stream: bool) -> None:
    reached = asyncio.Event()

    async def forever() -> None:
        reached.set()
        await asyncio.Event().wait()

    edge = await start_edge(ScriptedGateway(steps=[Batch([Delta(0, "Hello")]), forever]))
    running = asyncio.create_task(edge.chat(stream=stream))
    await reached.wait()
    edge.server.stop()
    answer = await asyncio.wait_for(running, 5)
    assert answer.status_code == (200 if stream else 503)
    assert '"code":"draining"' in answer.text
    assert "[DONE]" not in answer.text
    assert edge.gateway.answers[0].closed.is_set()
