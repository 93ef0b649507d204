"""SIGHUP: the real process takes a new model list while a stream runs; a wrong list changes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from muhgpt.inference.v1 import inference_pb2 as pb
from tests.contract.inference.session_client import SessionClient, chat, open_session
from tests.fakes_engine import EDGE_TOKEN, OPERATOR_TOKEN
from tests.integration.inference.test_inference_process import PREFIX, address, process, refusal
from tests.upstreams import Asked, encoded, end, text, upstream, usage

UPSTREAM = """
  {name}:
    engine: upstream
    base_url: {url}/v1
    model: m
    key_env: TEST_UPSTREAM_KEY
    context_length: 2048
    price: {{input: 1, output: 1}}
    aliases: [{alias}]
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "edge").write_text(EDGE_TOKEN)
    (tmp_path / "operator").write_text(OPERATOR_TOKEN)
    settings = {
        "EDGE_TOKEN_FILE": str(tmp_path / "edge"),
        "OPERATOR_TOKEN_FILE": str(tmp_path / "operator"),
        "ADDRESS_FILE": str(tmp_path / "address"),
        "MODELS_FILE": str(tmp_path / "models.yaml"),
    }
    named = {PREFIX + name: value for name, value in settings.items()}
    return {**os.environ, **named, "TEST_UPSTREAM_KEY": "sk-canary"}


def write(environment: dict[str, str], *models: str) -> None:
    Path(environment[PREFIX + "MODELS_FILE"]).write_text("models:" + "".join(models))


async def names(edge: SessionClient) -> set[str]:
    response = await edge.peer.call(edge.stub.ListModels, pb.ListModelsRequest(), timeout=5)
    return {model.alias for model in response.models}


async def until_names(edge: SessionClient, wanted: set[str]) -> None:
    async with asyncio.timeout(20):
        while await names(edge) != wanted:  # noqa: ASYNC110  another process reads a file
            await asyncio.sleep(0.01)


async def until_said(process: asyncio.subprocess.Process, event: bytes) -> bytes:
    """The log up to a line with this event."""
    assert process.stderr is not None
    said = b""
    async with asyncio.timeout(20):
        while event not in said:
            line = await process.stderr.readline()
            assert line, said
            said += line
    return said


async def test_a_new_list_is_served_and_a_running_stream_goes_on(environment: dict[str, str]) -> None:
    go = asyncio.Event()

    async def held(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        writer.write(encoded(text("begin"), done=False))
        await writer.drain()
        await go.wait()
        writer.write(encoded(text(" end"), end(), usage(7, 2)))

    async with upstream(held) as server:
        write(environment, UPSTREAM.format(name="old", url=server.url, alias="a"))
        async with process(environment) as started, open_session(await address(environment), EDGE_TOKEN) as edge:
            assert await names(edge) == {"old", "a"}
            running = await edge.start(chat(model="old"))
            assert (await edge.event(running)).delta.text == "begin"
            prepared = await edge.prepare(chat(model="a"))
            await edge.event(prepared)

            write(environment, UPSTREAM.format(name="new", url=server.url, alias="b"))
            started.send_signal(signal.SIGHUP)
            await asyncio.wait_for(edge.models_changed.wait(), 20)
            assert await names(edge) == {"new", "b"}
            assert (await edge.answer(chat(model="old"))).failed.reason == pb.Failed.REASON_MODEL_UNKNOWN
            go.set()
            events = await edge.to_end(running)
            assert events[-1].finished == pb.Finished(prompt_tokens=7, output_tokens=2)
            await edge.go(prepared)
            assert (await edge.to_end(prepared))[-1].finished.output_tokens == 2, "what was prepared keeps its target"
            assert (await edge.answer(chat(model="b"))).text() == "begin end"
            assert {asked.headers["authorization"] for asked in server.requests} == {"Bearer sk-canary"}


async def test_a_wrong_list_keeps_the_old_one_and_says_line_and_field(environment: dict[str, str]) -> None:
    good = UPSTREAM.format(name="old", url="http://127.0.0.1:1", alias="a")
    write(environment, good)
    async with process(environment) as started, open_session(await address(environment), EDGE_TOKEN) as edge:
        write(environment, good.replace("model: m", "modle: m"))
        started.send_signal(signal.SIGHUP)
        said = await until_said(started, b"reload_refused")
        assert b"models.yaml:5: models.old.modle: unknown field" in said
        write(environment, good.replace("TEST_UPSTREAM_KEY", "NO_SUCH_KEY"))
        started.send_signal(signal.SIGHUP)
        assert b"the environment variable NO_SUCH_KEY is not set" in await until_said(started, b"reload_refused")
        assert await names(edge) == {"old", "a"}
        write(environment, good.replace("aliases: [a]", "aliases: [b]"))
        started.send_signal(signal.SIGHUP)
        await until_names(edge, {"old", "b"})


async def test_a_missing_key_stops_the_start_with_line_and_field(environment: dict[str, str]) -> None:
    write(environment, UPSTREAM.format(name="old", url="http://127.0.0.1:1", alias="a"))
    del environment["TEST_UPSTREAM_KEY"]
    said = await refusal(environment)
    assert "models.yaml:6: models.old.key_env: the environment variable TEST_UPSTREAM_KEY is not set" in said
