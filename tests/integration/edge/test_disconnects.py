"""A client that goes away, or stops reading, stops its answer (G4)."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from services.edge.http.protocol import Bounds
from services.edge.serving.answer import Batch, Delta
from tests.worlds.in_process.http_edge import Edge, StartEdge, request_bytes
from tests.worlds.in_process.scripted_gateway import ScriptedGateway

QUICK = 0.25  # G4: seconds from the disconnect to the engine's stop


async def forever() -> None:
    await asyncio.Event().wait()


def chat_bytes(*, stream: bool) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": stream}).encode()
    return request_bytes("POST", "/v1/chat/completions", body)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_before_the_first_token_cancels_its_admission(
    start_edge: StartEdge, stream: bool
) -> None:
    edge = await start_edge(ScriptedGateway(before_first_token=forever))
    _, writer = await edge.raw(chat_bytes(stream=stream))
    await asyncio.wait_for(edge.gateway.waiting.wait(), 5)
    writer.close()
    await asyncio.wait_for(edge.gateway.cancelled.wait(), QUICK)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("abrupt", [False, True], ids=["closed", "reset"])
async def test_a_client_that_leaves_midway_closes_its_answer(start_edge: StartEdge, stream: bool, abrupt: bool) -> None:
    paused = asyncio.Event()

    async def pause() -> None:
        paused.set()
        await forever()

    edge = await start_edge(ScriptedGateway(steps=[Batch([Delta(0, "a")]), pause]))
    reader, writer = await edge.raw(chat_bytes(stream=stream))
    await asyncio.wait_for(paused.wait(), 5)
    if stream:
        await asyncio.wait_for(reader.readuntil(b'"content":"a"'), 5)
    if abrupt:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
    else:
        writer.close()
    await asyncio.wait_for(edge.gateway.answers[0].closed.wait(), QUICK)


async def test_a_client_that_pipelines_and_leaves_closes_the_answer_that_runs(start_edge: StartEdge) -> None:
    async def flow() -> None:
        await asyncio.sleep(0.001)

    steps = [Batch([Delta(0, "a")]), *[step for _ in range(20_000) for step in (flow, Batch([Delta(0, "b")]))]]
    edge = await start_edge(ScriptedGateway(steps=steps))
    reader, writer = await edge.raw(chat_bytes(stream=True) * 2)
    await asyncio.wait_for(reader.readuntil(b'"content":"a"'), 5)
    writer.transport.abort()
    await asyncio.wait_for(edge.gateway.answers[0].closed.wait(), 2)
    assert len(edge.gateway.answers) == 1


async def flood(start_edge: StartEdge, bounds: Bounds) -> tuple[Edge, asyncio.StreamReader, asyncio.StreamWriter]:
    steps = [Batch([Delta(0, "x" * 10_000)])] * 5_000
    edge = await start_edge(ScriptedGateway(steps=steps), bounds=bounds)
    host, _, port = edge.address.rpartition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    writer.write(chat_bytes(stream=True))
    return edge, reader, writer


async def settled_count(edge: Edge) -> int:
    """How many batches had been taken when the flow stood still."""
    last = -1
    while not edge.gateway.answers or edge.gateway.answers[0].yielded != last:
        last = edge.gateway.answers[0].yielded if edge.gateway.answers else -1
        await asyncio.sleep(0.05)
    return last


async def test_a_client_that_stops_reading_stops_the_flow(start_edge: StartEdge) -> None:
    edge, reader, writer = await flood(start_edge, Bounds(write_timeout=30))
    stood = await settled_count(edge)
    assert stood < 2_000
    for _ in range(100):
        await asyncio.wait_for(reader.read(65536), 5)
    writer.transport.abort()
    await asyncio.wait_for(edge.gateway.answers[0].closed.wait(), 2)
    assert edge.gateway.answers[0].yielded > stood or stood > 0


async def test_a_client_that_stops_reading_for_too_long_is_cut(start_edge: StartEdge) -> None:
    edge, _, writer = await flood(start_edge, Bounds(write_timeout=0.2))
    await settled_count(edge)
    await asyncio.wait_for(edge.gateway.answers[0].closed.wait(), 5)
    writer.transport.abort()


async def test_an_answer_that_ends_is_closed_once_and_the_connection_lives_on(edge: Edge) -> None:
    reader, writer = await edge.raw(chat_bytes(stream=True) + chat_bytes(stream=True))
    for _ in range(2):
        await asyncio.wait_for(reader.readuntil(b"data: [DONE]\n\n"), 5)
    writer.close()
    assert [answer.closed.is_set() for answer in edge.gateway.answers] == [True, True]
