"""HTTP/1.1 by hand: what an attacker writes to a socket, and what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass

CONNECT_TIMEOUT = 5.0  # seconds
ANSWER_TIMEOUT = 20.0
MAX_ANSWER_BYTES = 1024 * 1024
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Target:
    """Where the edge listens."""

    host: str
    port: int


@dataclass
class Connection:
    """One connection from an address of loopback that the caller chose."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Writes and waits until it has left. Raises ConnectionError when the other side has closed."""
        self.writer.write(data)
        await self.writer.drain()

    async def outcome(self, seconds: float = ANSWER_TIMEOUT) -> str:
        """The status of what comes back, with the error's code: "400", "429 refused_too_often", "closed", "silent"."""
        try:
            async with asyncio.timeout(seconds):
                return describe(await self._answer())
        except TimeoutError:
            return "silent"

    async def _answer(self) -> bytes:
        """One answer's bytes: to the end of its Content-Length, or to the end of the connection."""
        read = b""
        with contextlib.suppress(ConnectionError):  # cut: what had come counts
            while len(read) < MAX_ANSWER_BYTES and not complete(read) and (data := await self.reader.read(65536)):
                read += data
        return read

    def close(self) -> None:
        """Ends the connection at once."""
        self.writer.transport.abort()


async def connect(target: Target, source: str) -> Connection:
    """A connection from `source`. Raises OSError or TimeoutError when none is to be had."""
    async with asyncio.timeout(CONNECT_TIMEOUT):
        reader, writer = await asyncio.open_connection(target.host, target.port, local_addr=(source, 0))
    return Connection(reader, writer)


async def exchange(target: Target, source: str, data: bytes, seconds: float = ANSWER_TIMEOUT) -> str:
    """The outcome of one request on a connection of its own. Reads while it writes, as an early refusal wants it."""
    try:
        connection = await connect(target, source)
    except (OSError, TimeoutError):
        return "no connection"
    sending = asyncio.ensure_future(_send(connection, data))
    try:
        return await connection.outcome(seconds)
    finally:
        sending.cancel()
        connection.close()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(connection: Connection, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # refused while it was still sent: the answer says why
        await connection.send(data)


def head(path: str = CHAT, *, key: str | None, method: str = "POST", **headers: str) -> bytes:
    """A request's head without its last empty line; underscores in names of headers become hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: api.example.com"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def post(body: bytes, key: str | None, path: str = CHAT, **headers: str) -> bytes:
    """A whole request."""
    start = head(path, key=key, Content_Type="application/json", Content_Length=str(len(body)), **headers)
    return start + b"\r\n" + body


def get(path: str, key: str | None = None, **headers: str) -> bytes:
    """A whole request without a body."""
    return head(path, key=key, method="GET", **headers) + b"\r\n"


def describe(answer: bytes) -> str:
    """The status with the error's code, or that nothing came."""
    match = STATUS.match(answer)
    if match is None:
        return "closed" if not answer else "not HTTP"
    status = match.group(1).decode()
    code = error_code(answer)
    return f"{status} {code}" if code else status


def error_code(answer: bytes) -> str | None:
    """`error.code` of an answer's JSON body."""
    body = answer.partition(b"\r\n\r\n")[2]
    try:
        document = json.loads(body)
        code = document["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) else None


def complete(read: bytes) -> bool:
    """Whether an answer with a Content-Length, or a whole chunked one, has come to its end."""
    start, separator, body = read.partition(b"\r\n\r\n")
    if not separator:
        return False
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", start)
    if length is not None:
        return len(body) >= int(length.group(1))
    return body.endswith(b"0\r\n\r\n")
