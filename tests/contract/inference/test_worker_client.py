"""What the watchdog takes for a worker that stands still, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.inference.engines.llama.client import WorkerClient

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


@asynccontextmanager
async def worker(*answers: bytes) -> AsyncIterator[WorkerClient]:
    """A client of a server that gives one of these to each connection and closes it, and nothing to all others."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if left:
            writer.write(left.pop(0))
        else:
            await reader.read()  # until the client gives up
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = WorkerClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "key", connections=4)
        try:
            yield client
        finally:
            await client.close()


async def test_a_worker_that_answers_is_well() -> None:
    async with worker(ANSWER) as client:
        assert await client.answers(30)


async def test_connections_that_close_without_an_answer_are_not_held_against_it() -> None:
    """The worker closes those that idle or have served a hundred requests, also when a question is on its way."""
    async with worker(b"", b"", b"", ANSWER) as client:
        assert await client.answers(30)


async def test_a_worker_that_refuses_for_a_moment_is_well() -> None:
    async with worker(BUSY, BUSY, ANSWER) as client:
        assert await client.answers(30)


async def test_a_worker_that_takes_a_question_and_never_answers_stands_still() -> None:
    async with worker() as client:
        assert not await client.answers(0.2)


async def test_a_worker_that_only_closes_connections_stands_still() -> None:
    async with worker(*[b""] * 100) as client:
        assert not await client.answers(0.2)
