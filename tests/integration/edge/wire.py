"""Reading answers off a socket, byte by byte as they were sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

CHAT = "/v1/chat/completions"
HELLO = json.dumps({"messages": [{"role": "user", "content": "Hello"}]}).encode()


async def read_answer(reader: asyncio.StreamReader, timeout: float = 5) -> tuple[int, dict[str, str], Any]:
    """Status, headers and the JSON of an answer with a length."""
    async with asyncio.timeout(timeout):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, json.loads(body) if body else None


async def read_all(reader: asyncio.StreamReader, timeout: float = 10) -> bytes:
    """Everything until the server closes or cuts the connection."""
    read = b""
    async with asyncio.timeout(timeout):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                read += data
    return read


async def send_until_cut(writer: asyncio.StreamWriter, piece: bytes, limit: int) -> int:
    """Sends pieces until the server cuts the connection; the number of bytes sent, at most limit."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < limit:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
    return sent


def assert_shape(headers: dict[str, str], body: Any) -> None:
    """The one shape of every error (G10)."""
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert headers["x-request-id"].startswith("req_")
    assert headers["content-type"] == "application/json"
