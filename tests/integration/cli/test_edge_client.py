"""`muhgpt chat` against a server that a test writes byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from muhgpt_cli.edge_client import Edge
from muhgpt_cli.errors import CliError

ODD = "line\u2028paragraph\u2029next\u0085form\x0cfile\x1cgroup\x1d, é漢🙂"


@asynccontextmanager
async def serving(*pieces: bytes) -> AsyncIterator[str]:
    """The base URL of a server that answers each request with an event stream of these pieces."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def chunks(url: str) -> list[dict[str, object]]:
    async with Edge(url, "mghp_key") as edge:
        return [chunk async for chunk in edge.chat({"model": "muh-chat", "messages": []})]


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_only_line_ends_of_the_wire_end_a_line_whatever_the_answer_holds(size: int) -> None:
    event = json.dumps({"text": ODD}, ensure_ascii=False).encode()
    stream = b": comment\n\ndata: " + event + b"\n\ndata:" + event + b"\r\n\r\ndata: [DONE]\n\n"
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    async with serving(*pieces) as url:
        assert await chunks(url) == [{"text": ODD}] * 2


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b'data: {"error": {"message": "no more credits"}}\n\n', "no more credits"),
        (b"data: <html>\n\n", "no JSON object"),
        (b"data: [1]\n\n", "no JSON object"),
        (b"data: " + b"x" * (1024 * 1024 + 1) + b"\n\n", "no client can take"),
    ],
)
async def test_what_is_no_answer_is_an_error_in_a_sentence(stream: bytes, said: str) -> None:
    async with serving(stream) as url:
        with pytest.raises(CliError, match=said):
            await chunks(url)
