"""A client on a raw socket that counts what it really received, and can leave or stop reading at any moment.

Tokens are counted by their log probabilities: a streamed chunk may carry several tokens, but has one entry for each.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.worlds.parts.office import Account

# The default model never ends an answer by itself when it may not say a control token: it goes on to max_tokens.
ENDLESS = {str(token): -100 for token in range(8)}
PIECE = 65_536
SMALL_BUFFER = 4096  # bytes; Linux doubles it
SDK_TRIES, SDK_PAUSE = 3, 1.0  # seconds
PATIENCE = 150.0  # seconds for one whole request, faults and queueing included


@dataclass
class Received:
    """What came, as it comes. Instants are Unix seconds, comparable with quota's receipts."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    tokens: int = 0
    bytes: int = 0  # of the whole answer, header included
    finish: str | None = None
    usage: tuple[int, int] | None = None  # prompt and output tokens, as told at the end
    error: dict[str, Any] | None = None
    done: bool = False  # [DONE] was read
    left: bool = False  # by our own choice
    sent_at: float = 0.0
    ended_at: float = 0.0

    @property
    def over(self) -> bool:
        return self.ended_at > 0

    @property
    def code(self) -> str | None:
        """The error's code, whether it was the answer's status or an event."""
        return self.error.get("code") if self.error else None


Moment = Callable[[Received], bool]


def at_token(number: int) -> Moment:
    """When so many tokens have come; 0: at once, before anything came."""
    return lambda received: received.tokens >= number


class Client:
    """One request on a connection of its own, streamed unless `stream=False`."""

    def __init__(
        self,
        address: str,
        account: Account,
        *,
        max_tokens: int = 100,
        leave: Moment | None = None,
        stall: Moment | None = None,
        small_buffers: bool = False,
        **fields: Any,
    ) -> None:
        """`leave` closes the connection at a moment; `stall` stops reading until read_on() is called.

        With small_buffers the kernel keeps little of what was not read, so the edge notices soon.
        """
        self.account = account
        self.received = Received()
        self.address = address
        self._leave = leave
        self._stall = stall
        self._small = small_buffers
        self._body = {
            "model": "muh-chat",
            "messages": [{"role": "user", "content": "Count to a hundred."}],
            "stream": True,
            "max_tokens": max_tokens,
            "logprobs": True,
            "logit_bias": ENDLESS,
            **fields,
        }
        self._reader = _Reader(self.received)
        self._changed = asyncio.Event()
        self._read_on = asyncio.Event()
        self._reading: asyncio.Future[bytes] | None = None
        self._task: asyncio.Task[Received] | None = None
        self.stalled = asyncio.Event()

    @property
    def whole(self) -> bool:
        """Whether the answer is to come whole, not streamed."""
        return not self._body["stream"]

    def start(self) -> asyncio.Task[Received]:
        """Runs in a task of its own."""
        self._task = asyncio.create_task(self.run())
        return self._task

    async def ended(self) -> Received:
        """Waits for the end of what start() started."""
        assert self._task is not None
        return await self._task

    async def run(self) -> Received:
        """Sends the request and reads to the end, whatever the end is. Never raises for what the platform does."""
        self.received.sent_at = time.time()
        with suppress(OSError):
            async with asyncio.timeout(PATIENCE):
                await self._converse()
        self.received.ended_at = time.time()
        self._changed.set()
        return self.received

    async def reached(self, moment: Moment, seconds: float = 60.0) -> bool:
        """Waits until the moment; False when the request ended without it."""
        async with asyncio.timeout(seconds):
            while not moment(self.received) and not self.received.over:
                self._changed.clear()
                await self._changed.wait()
        return moment(self.received)

    def read_on(self) -> None:
        """Ends a stall."""
        self._read_on.set()

    def leave_now(self) -> None:
        """Closes the connection at once, whatever was last read."""
        self._leave = at_token(0)
        if self._reading is not None:
            self._reading.cancel()

    async def _converse(self) -> None:
        with self._socket() as raw:
            loop = asyncio.get_running_loop()
            host, _, port = self.address.rpartition(":")
            await loop.sock_connect(raw, (host, int(port)))
            await loop.sock_sendall(raw, self._request())
            if self._wants(self._leave):
                self._go(raw)
                return
            while data := await self._read(raw):
                self._reader.feed(data)
                self._changed.set()
                if self._reader.complete:
                    return
                if self._wants(self._leave):
                    self._go(raw)
                    return
                if self._wants(self._stall):
                    self._stall = None
                    self.stalled.set()
                    await self._read_on.wait()
            if self._wants(self._leave):
                self._go(raw)

    async def _read(self, raw: socket.socket) -> bytes:
        """The next piece; empty at the end, or when we are to leave."""
        if self._wants(self._leave):
            return b""
        self._reading = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(raw, PIECE))
        try:
            return await self._reading
        except asyncio.CancelledError:
            if not self._wants(self._leave):
                raise
            return b""
        finally:
            self._reading = None

    def _wants(self, moment: Moment | None) -> bool:
        return moment is not None and moment(self.received)

    def _go(self, raw: socket.socket) -> None:
        """Leaves. What has arrived by then was received, read or not."""
        with suppress(BlockingIOError):
            while data := raw.recv(PIECE):
                self._reader.feed(data)
        self.received.left = True

    def _socket(self) -> socket.socket:
        raw = socket.socket()
        raw.setblocking(False)
        if self._small:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # the sender's buffer grows with it
        return raw

    def _request(self) -> bytes:
        body = orjson.dumps(self._body)
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            f"host: {self.address}",
            f"authorization: Bearer {self.account.key}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
            "",
            "",
        ]
        return "\r\n".join(lines).encode() + body


async def begun(make: Callable[[], Awaitable[Client]]) -> Client:
    """Starts a request and waits for its answer to begin. What a 503 tells to come back is made anew, as SDKs do."""
    for _ in range(SDK_TRIES):
        client = await make()
        client.start()
        if await client.reached(at_token(1)):
            break
        assert client.received.status == 503, client.received
        await asyncio.sleep(SDK_PAUSE)
    assert client.received.status == 200, client.received
    return client


class _Reader:
    """HTTP/1.1, chunks, and server-sent events, as far as the edge speaks them."""

    def __init__(self, received: Received) -> None:
        self.complete = False
        self._received = received
        self._raw = b""
        self._text = b""
        self._chunked = False
        self._left = -1  # bytes of the body, when its length was told

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        self._received.bytes += len(data)
        self._raw += data
        if not self._received.status and not self._head():
            return
        if self._chunked:
            self._chunks()
        else:
            self._text, self._raw = self._text + self._raw, b""
            self.complete = len(self._text) >= self._left >= 0
        if self._received.headers.get("content-type", "").startswith("text/event-stream"):
            self._events()
        elif self.complete:
            self._event(orjson.loads(self._text))
            self._received.done = True

    def _head(self) -> bool:
        head, found, rest = self._raw.partition(b"\r\n\r\n")
        if not found:
            return False
        self._raw = rest
        status, *lines = head.decode("latin-1").split("\r\n")
        self._received.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self._chunked = self._received.headers.get("transfer-encoding") == "chunked"
        self._left = int(self._received.headers.get("content-length", -1))
        self._received.status = int(status.split()[1])
        return True

    def _chunks(self) -> None:
        while True:
            size, found, rest = self._raw.partition(b"\r\n")
            length = int(size, 16) if found else 0
            if not found or len(rest) < length + 2:
                return
            self._text += rest[:length]
            self._raw = rest[length + 2 :]
            if length == 0:
                self.complete = True
                return

    def _events(self) -> None:
        *events, self._text = self._text.split(b"\n\n")
        for event in events:
            if event == b"data: [DONE]":
                self._received.done = True
            elif event.startswith(b"data: "):
                self._event(orjson.loads(event[6:]))

    def _event(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            self._received.error = chunk["error"]
            return
        for choice in chunk["choices"]:
            if choice.get("logprobs"):
                self._received.tokens += len(choice["logprobs"]["content"])
            if choice["finish_reason"] is not None:
                self._received.finish = choice["finish_reason"]
        if chunk.get("usage"):
            self._received.usage = (chunk["usage"]["prompt_tokens"], chunk["usage"]["completion_tokens"])
