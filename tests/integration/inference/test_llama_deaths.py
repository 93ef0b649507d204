"""A worker that dies while it prepares: who is suspected, who is prepared again, and what the edge is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import psutil
import pytest

from muhgpt.inference.v1 import inference_pb2 as pb
from servicekit.rpc.status import RpcFailure
from services.inference.engines.llama.engine import LlamaEngine
from tests.contract.inference.session_client import SessionClient, chat, open_session
from tests.fakes_engine import EDGE_TOKEN, start_inference, start_llama
from tests.integration.inference.test_llama_worker import until


@pytest.fixture
async def world() -> AsyncIterator[tuple[LlamaEngine, SessionClient]]:
    async with (
        start_llama() as engine,
        start_inference(engine) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
    ):
        yield engine, edge


async def halt(worker: int | None) -> None:
    """Stops the worker and returns when it stands still: on a busy machine it goes on for a moment."""
    assert worker is not None
    os.kill(worker, signal.SIGSTOP)
    await until(lambda: psutil.Process(worker).status() == psutil.STATUS_STOPPED)


async def dies_under(engine: LlamaEngine, edge: SessionClient, *texts: str) -> list[pb.Event]:
    """The worker stands still, is asked to prepare these, and dies. Each one's answer."""
    assert engine.supervisor.pid is not None
    worker = engine.supervisor.pid
    client = engine.supervisor.client()
    await halt(worker)
    numbers = [await edge.prepare(chat(text)) for text in texts]
    await until(lambda: client.running >= len(texts))
    os.kill(worker, signal.SIGKILL)
    events = [await edge.event(number) for number in numbers]
    await until(lambda: engine.ready and engine.supervisor.pid != worker)
    return events


async def test_the_request_that_a_worker_died_under_is_marked_and_works_the_next_time(
    world: tuple[LlamaEngine, SessionClient],
) -> None:
    engine, edge = world
    [event] = await dies_under(engine, edge, "Hello!")
    assert event.failed.reason == pb.Failed.REASON_ENGINE_UNAVAILABLE
    assert event.failed.engine_died
    assert (await edge.answer(chat("Hello!"))).finished is not None


async def test_a_request_under_which_workers_die_twice_is_refused_from_then_on(
    world: tuple[LlamaEngine, SessionClient],
) -> None:
    engine, edge = world
    await dies_under(engine, edge, "Hello!")
    [event] = await dies_under(engine, edge, "Hello!")
    assert event.failed.reason == pb.Failed.REASON_INVALID_REQUEST
    worker = engine.supervisor.pid
    refused = await edge.event(await edge.prepare(chat("Hello!"), account_id="another"))
    assert refused.failed.reason == pb.Failed.REASON_INVALID_REQUEST
    assert (await edge.answer(chat("Hello there!"))).finished is not None, "another request is not that one"
    assert engine.supervisor.pid == worker


async def test_once_it_was_prepared_it_is_no_suspect_any_more(world: tuple[LlamaEngine, SessionClient]) -> None:
    engine, edge = world
    for _ in range(3):
        [event] = await dies_under(engine, edge, "Hello!")
        assert event.failed.engine_died
        assert (await edge.answer(chat("Hello!"))).finished is not None


async def test_requests_that_were_prepared_beside_each_other_are_prepared_again(
    world: tuple[LlamaEngine, SessionClient],
) -> None:
    engine, edge = world
    events = await dies_under(engine, edge, "One.", "Two.", "Three.")
    assert all(event.prepared.prompt_tokens for event in events)


async def test_the_unary_prepare_marks_it_too(world: tuple[LlamaEngine, SessionClient]) -> None:
    engine, edge = world
    worker, client = engine.supervisor.pid, engine.supervisor.client()
    assert worker is not None
    await halt(worker)
    message = pb.PrepareRequest(session_id=edge.session_id, request=chat("Hello!"), account_id="acct-1")
    call = asyncio.create_task(edge.peer.call(edge.stub.Prepare, message, timeout=10))
    await until(lambda: client.running)
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(RpcFailure) as failed:
        await call
    assert failed.value.reason == "ENGINE_UNAVAILABLE"
    assert failed.value.metadata["engine_died"] == "true"


async def test_a_refused_preparation_tells_what_it_has_cost(world: tuple[LlamaEngine, SessionClient]) -> None:
    _, edge = world
    failed = (await edge.event(await edge.prepare(chat(*["a b"] * 900)))).failed
    assert failed.reason == pb.Failed.REASON_CONTEXT_TOO_LONG
    assert 0.001 < failed.spent.ToMicroseconds() / 1e6 < 5
