"""`muhgpt up --models FILE` with an upstream behind a model, through the official client: answers, usage and books."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.upstreams import Asked, Upstream, chunk, end, status, stream, text, usage
from tests.worlds.processes import Platform, running, until

LIST = """
models:
  muh-chat:
    context_length: 4096
    abilities: [tools, json]
    price: {{input: 2000000, output: {output}}}
    aliases: [{aliases}]
    targets:
      - engine: upstream
        base_url: {url}/v1
        model: the-upstreams-own-name
        key_env: TEST_UPSTREAM_KEY
"""
TEXT = stream(text("Hel"), text("lo"), end(), usage(7, 2))
CALL = stream(
    chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"a":'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
    end("tool_calls"),
    usage(20, 9),
)


async def scripted(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answers by what was said."""
    said = asked.body["messages"][-1]["content"]
    plays = {
        "call": CALL,
        "bad": status(400, {"error": {"message": "no such thing", "param": "seed"}}),
        "down": status(500),
    }
    await plays.get(said, TEXT)(asked, writer)


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    """In a loop of its own, since these tests have none."""
    loop, server = asyncio.new_event_loop(), Upstream(scripted)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    yield server
    asyncio.run_coroutine_threadsafe(server.kill(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, server: Upstream) -> Path:
    file = tmp_path_factory.mktemp("upstreams") / "models.yaml"
    file.write_text(LIST.format(url=server.url, output=3000000, aliases="gpt-4o"))
    return file


@pytest.fixture(scope="module")
def platform(models: Path) -> Iterator[Platform]:
    env = {"TEST_UPSTREAM_KEY": "sk-canary"}
    with running(models.parent / "data", "--models", str(models), env=env) as platform:
        yield platform


def asked(said: str, **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": said}], **fields}


def test_whole_streamed_and_called_at_the_upstreams_own_count(platform: Platform, server: Upstream) -> None:
    account = platform.account()
    with platform.openai(account.key) as client:
        whole = client.chat.completions.create(**asked("hello"))
        assert (whole.model, whole.choices[0].message.content) == ("gpt-4o", "Hello")
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (7, 2)
        chunks = list(client.chat.completions.create(**asked("hello", stream=True)))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
        assert chunks[-1].usage == whole.usage
        tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
        called = client.chat.completions.create(**asked("call", tools=[tool], tool_choice="required"))
        (call,) = called.choices[0].message.tool_calls
        assert (call.id, call.function.name, call.function.arguments) == ("c1", "look", '{"a":1}')
    assert server.requests[-1].body["model"] == "the-upstreams-own-name"
    assert server.requests[-1].body["tool_choice"] == "required"
    cost = 2 * (2 * 7 + 3 * 2) + 2 * 20 + 3 * 9
    assert platform.usage(account.key)["balance"] == 1_000_000 - cost
    assert platform.muhgpt("doctor")["ok"] is True


def test_a_400_is_the_clients_and_a_broken_upstream_is_502_and_neither_costs(platform: Platform) -> None:
    account = platform.account()
    with platform.openai(account.key) as client:
        with pytest.raises(openai.BadRequestError, match="no such thing"):
            client.chat.completions.create(**asked("bad"))
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**asked("down"))
        assert caught.value.status_code == 502
        assert caught.value.body["type"] == "upstream_error"
    assert platform.usage(account.key)["balance"] == 1_000_000


def test_a_new_list_changes_names_and_prices_while_it_runs(platform: Platform, models: Path, server: Upstream) -> None:
    account = platform.account()
    with platform.openai(account.key) as client:
        until(lambda: client.models.list().data, 10, "models")
        models.write_text(LIST.format(url=server.url, output=5000000, aliases="gpt-5"))
        for service in ("quota", "inference"):
            os.kill(platform.pid(service), signal.SIGHUP)
        until(lambda: {model.id for model in client.models.list().data} == {"muh-chat", "gpt-5"}, 20, "the new names")
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**asked("hello"))
        client.chat.completions.create(**{**asked("hello"), "model": "gpt-5"})
    assert platform.usage(account.key)["balance"] == 1_000_000 - (2 * 7 + 5 * 2)
