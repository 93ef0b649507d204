"""An upstream that is no bottleneck: OpenAI's chat wire from one callback, no objects per event.

    python -m bench.path.upstream PORT_FILE

The model's name says how the answer comes: `burst` (all events in one write), `paced` (an event each 5 ms), `single`
(one event). An answer has max_tokens words; without `stream` it is one JSON document.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httptools
import orjson
import uvloop

PACE_SECONDS = 0.005
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n"
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":14,"completion_tokens":%d,"total_tokens":%d}}\n\ndata: [DONE]\n\n'
)
WHOLE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":14,"completion_tokens":%d,"total_tokens":%d}}'
)
PROMPT_TOKENS = 14


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """One connection, requests one after the other."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        request = orjson.loads(self._body or b"{}")
        self._body.clear()
        tokens = int(request.get("max_tokens") or request.get("max_completion_tokens") or 64)
        if not request.get("stream"):
            text = WHOLE % (b"word " * tokens, tokens, tokens + PROMPT_TOKENS)
            self._transport.write(HEAD % b"application/json" + b"content-length: %d\r\n\r\n%s" % (len(text), text))
            return
        head = HEAD % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n"
        end = chunk(LAST % (tokens, tokens + PROMPT_TOKENS)) + b"0\r\n\r\n"
        if request["model"] == "paced":
            self._transport.write(head)
            self._pace(chunk(EVENT), tokens, end)
        elif request["model"] == "single":
            self._transport.write(head + chunk(EVENT) + end)
        else:
            self._transport.write(head + chunk(EVENT) * tokens + end)

    def _pace(self, event: bytes, left: int, end: bytes) -> None:
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(end)
            return
        self._transport.write(event)
        asyncio.get_running_loop().call_later(PACE_SECONDS, self._pace, event, left - 1, end)


async def serve(port_file: Path) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    staging = port_file.with_suffix(".new")
    staging.write_text(str(server.sockets[0].getsockname()[1]))
    os.replace(staging, port_file)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
