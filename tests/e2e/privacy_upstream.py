"""An upstream that tells everything it was sent, in whatever way its model's name says, and a list that names it so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from tests.upstreams import SSE, Asked, Play, Upstream, chunk, encoded, end, hang_up, silence, status, text, usage

PAUSE = b": a pause\n\n"  # what follows comes so much later that the client has read what came before
PAUSE_SECONDS = 0.5
KEY_ENV = "TEST_PRIVACY_UPSTREAM_KEY"
ERRORS = (400, 401, 403, 404, 413, 422, 429, 500, 503)
WAYS = (
    *("whole", "call", "silent", "hangup", "no-stream", "no-json", "no-chunks", "cut", "cut-after-text"),
    *("event-400", "event-500", "event-odd"),
    *(f"status-{code}" for code in ERRORS),
    *("html-500", "redirect"),
)
HEAD = """
models:
  muh-chat: {{engine: llama, file: default, projector: {projector}, context_length: 2048, abilities: [tools, json],
             price: {{input: 1000000, output: 3000000}}}}
  muh-blind: {{engine: upstream, base_url: {url}/v1, model: whole, context_length: 2048,
              price: {{input: 1000000, output: 3000000}}}}
"""
TARGET = """
  {name}:
    engine: upstream
    base_url: {url}/v1
    model: {name}
    {key}
    headers: {{X-Extra: {extra}}}
    context_length: 32768
    first_token_timeout: 1
    abilities: [tools, json, vision]
    price: {{input: 1000000, output: 3000000}}
"""


def echo(asked: Asked) -> str:
    """The secrets that came with a request, and its words."""
    said = str(asked.body["messages"])
    return f"{asked.headers.get('authorization')} {asked.headers.get('x-extra')} you said {said}"


async def tell(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answers in the way of the model's name."""
    await _play(asked.body["model"], asked)(asked, writer)


def _play(way: str, asked: Asked) -> Play:
    words = echo(asked)
    error = {"error": {"message": words, "type": words, "param": "stop", "code": words}}
    pieces: dict[str, Play] = {
        "whole": _events(text("Hel"), text("lo"), end(), usage(7, 2)),
        "call": _events(
            chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"a":1}'}}]}),
            end("tool_calls"),
            usage(7, 2),
        ),
        "silent": silence,
        "hangup": hang_up,
        "no-stream": status(200, error),
        "no-json": _events(f"data: {words}\n\n".encode()),
        "no-chunks": _events({"choices": words}),
        "cut": _events(done=False),
        "cut-after-text": _events(text("Hel"), PAUSE, done=False),
        "event-400": _events(text("Hel"), PAUSE, {"error": {"message": words, "code": 400}}),
        "event-500": _events(text("Hel"), PAUSE, {"error": {"message": words, "code": 500}}),
        "event-odd": _events({"error": words}),
        "html-500": status(500, f"<p>{words}</p>".encode()),
        "redirect": status(307, error, Location=f"http://127.0.0.1:1/{asked.headers.get('x-extra')}"),
    }
    return pieces.get(way) or status(int(way.removeprefix("status-")), error)


def _events(*chunks: Any, done: bool = True) -> Play:
    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        before, pause, after = encoded(*chunks, done=done).partition(PAUSE)
        writer.write(SSE.encode() + before + pause)
        if pause:
            await writer.drain()
            await asyncio.sleep(PAUSE_SECONDS)
        writer.write(after)

    return play


@contextmanager
def telling_upstream() -> Iterator[Upstream]:
    """In a loop of its own, for tests that have none."""
    loop, server = asyncio.new_event_loop(), Upstream(tell)
    thread = Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.kill(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def write_models(file: Path, *, url: str, projector: Path, key_file: Path, extra: str) -> Path:
    """A model list with an upstream for each way; every second one has its key in a file."""
    file.write_text(
        HEAD.format(projector=projector, url=url)
        + "".join(
            TARGET.format(
                name=way, url=url, extra=extra, key=f"key_file: {key_file}" if number % 2 else f"key_env: {KEY_ENV}"
            )
            for number, way in enumerate(WAYS)
        )
    )
    return file
