"""A whole answer's charge is confirmed when its last byte has left the edge, or when nobody will read it (G3, G4)."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass, field

import pytest

from services.edge.http.protocol import Bounds
from services.edge.serving.answer import Batch, Delta, Usage
from tests.worlds.in_process.http_edge import Edge, StartEdge, request_bytes
from tests.worlds.in_process.scripted_gateway import ScriptedGateway, Step

LARGE = 16 * 1024 * 1024  # characters: more than the kernel takes for a client that does not read
BODY = json.dumps({"messages": [{"role": "user", "content": "Hello"}]}).encode()


@dataclass
class Whole:
    """An answer that notes when it was written."""

    length: int
    written: asyncio.Event = field(default_factory=asyncio.Event)
    taken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def steps(self) -> list[Step]:
        text = Batch([Delta(0, "x" * self.length, finish_reason="stop")])
        return [text, self._take, Batch([], Usage(7, 1), self.written.set)]

    async def _take(self) -> None:
        self.taken.set()


async def asked(start_edge: StartEdge, whole: Whole, **options: object) -> tuple[Edge, socket.socket]:
    """An edge, and a client that has sent its request and reads nothing by itself."""
    edge = await start_edge(ScriptedGateway(steps=whole.steps), **options)
    host, _, port = edge.address.rpartition(":")
    client = socket.create_connection((host, int(port)))
    client.setblocking(False)
    client.sendall(request_bytes("POST", "/v1/chat/completions", BODY))
    await asyncio.wait_for(whole.taken.wait(), 5)
    return edge, client


async def test_a_small_answer_is_written_at_once(start_edge: StartEdge) -> None:
    whole = Whole(10)
    edge = await start_edge(ScriptedGateway(steps=whole.steps))
    assert (await edge.chat()).status_code == 200
    await asyncio.wait_for(whole.written.wait(), 1)


@pytest.mark.parametrize("extra", ["", "Connection: close\r\n"])
async def test_a_large_answer_is_written_when_its_client_has_taken_it_and_not_before(
    start_edge: StartEdge, extra: str
) -> None:
    whole = Whole(LARGE)
    edge = await start_edge(ScriptedGateway(steps=whole.steps))
    reader, writer = await edge.raw(request_bytes("POST", "/v1/chat/completions", BODY, extra=extra))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert not whole.written.is_set()
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    await asyncio.wait_for(reader.readexactly(length - 1), 20)
    await asyncio.wait_for(whole.written.wait(), 5)
    writer.close()


async def test_an_answer_whose_client_stops_reading_is_confirmed_when_the_edge_gives_it_up(
    start_edge: StartEdge,
) -> None:
    whole = Whole(LARGE)
    _, client = await asked(start_edge, whole, bounds=Bounds(write_timeout=0.3))
    await asyncio.wait_for(whole.written.wait(), 5)
    client.close()


async def test_an_answer_whose_client_leaves_in_its_middle_is_confirmed(start_edge: StartEdge) -> None:
    whole = Whole(LARGE)
    _, client = await asked(start_edge, whole)
    assert not whole.written.is_set()
    client.close()
    await asyncio.wait_for(whole.written.wait(), 5)
