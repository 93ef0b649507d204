"""The worker's life: death and return, stalls, slots, and model files that are none."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from muhgpt.inference.v1 import inference_pb2 as pb
from servicekit.errors import StartupError
from services.inference.default_model import FILE as DEFAULT_FILE
from services.inference.engines.llama.engine import LlamaEngine
from services.inference.engines.llama.supervisor import Patience
from tests.contract.inference.session_client import SessionClient, chat, open_session
from tests.fakes_engine import EDGE_TOKEN, start_inference, start_llama

ENDLESS = {"logit_bias": {2: -100.0}, "temperature": 1.5}  # token 2 is the end of an answer


async def until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    """Polls a condition with a deadline."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  what is waited for says nothing when it happens
            await asyncio.sleep(0.005)


async def ready(edge: SessionClient) -> bool:
    models = await edge.peer.call(edge.stub.ListModels, pb.ListModelsRequest(), timeout=5)
    return all(model.ready for model in models.models)


async def test_a_killed_worker_fails_what_it_had_and_is_back_within_seconds() -> None:
    async with (
        start_llama() as engine,
        start_inference(engine) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
    ):
        number = await edge.start(chat("Tell me a story.", **ENDLESS), max_tokens=1500)
        assert (await edge.event(number)).delta.tokens >= 1
        old = engine.supervisor.pid
        assert old is not None
        os.kill(old, signal.SIGKILL)
        failed = (await edge.to_end(number))[-1].failed
        assert failed.reason == pb.Failed.REASON_ENGINE_UNAVAILABLE
        assert failed.output_tokens >= 1
        await until(lambda: engine.ready and engine.supervisor.pid != old)
        assert await ready(edge)
        assert (await edge.answer(chat("Hello!"))).finished is not None


async def test_while_the_worker_is_down_requests_fail_at_once() -> None:
    patience = Patience(first_restart=30.0, last_restart=30.0)
    async with (
        start_llama(patience=patience) as engine,
        start_inference(engine) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
    ):
        assert engine.supervisor.pid is not None
        os.kill(engine.supervisor.pid, signal.SIGKILL)
        await until(lambda: not engine.ready)
        assert not await ready(edge)
        async with asyncio.timeout(5):
            failed = (await edge.answer()).failed
        assert failed is not None
        assert failed.reason == pb.Failed.REASON_ENGINE_UNAVAILABLE


async def test_a_worker_that_stops_answering_is_killed_and_replaced() -> None:
    patience = Patience(watch_every=0.02, stall=1.0)
    async with start_llama(patience=patience) as engine:
        old = engine.supervisor.pid
        assert old is not None
        os.kill(old, signal.SIGSTOP)
        await until(lambda: engine.ready and engine.supervisor.pid != old)
        assert not psutil.pid_exists(old)


async def test_a_worker_that_stops_answering_ends_all_that_it_had() -> None:
    patience = Patience(watch_every=0.02, stall=1.0)
    async with (
        start_llama(slots=2, patience=patience) as engine,
        start_inference(engine) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
    ):
        numbers = [await edge.start(chat("Tell me a story.", **ENDLESS), max_tokens=1500) for _ in range(2)]
        for number in numbers:
            assert (await edge.event(number)).delta.tokens >= 1
        waiting = await edge.start(chat("Tell me a story.", **ENDLESS), max_tokens=1500)  # for a slot
        old = engine.supervisor.pid
        assert old is not None
        os.kill(old, signal.SIGSTOP)
        preparing = asyncio.create_task(edge.answer())
        async with asyncio.timeout(10):
            for number in numbers:
                failed = (await edge.to_end(number))[-1].failed
                assert failed.reason == pb.Failed.REASON_ENGINE_UNAVAILABLE
            said = (await edge.to_end(waiting))[-1]
            assert said.failed.reason == pb.Failed.REASON_ENGINE_UNAVAILABLE
            prepared = (await preparing).failed
            assert prepared is not None
            assert prepared.reason == pb.Failed.REASON_ENGINE_UNAVAILABLE
        await until(lambda: engine.ready and engine.supervisor.pid != old)
        assert (await edge.answer(chat("Hello!"))).finished is not None


async def test_a_cancelled_generation_frees_its_slot_for_one_that_waits() -> None:
    async with (
        start_llama(slots=1) as engine,
        start_inference(engine) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
    ):
        first = await edge.start(chat("Tell me a story.", **ENDLESS), max_tokens=1900)
        assert (await edge.event(first)).delta.tokens >= 1
        second = await edge.start(chat("Hello!"))
        await edge.cancel(first)
        events = await edge.to_end(first)
        finished = events[-1].finished
        told = 1 + sum(event.delta.tokens for event in events if event.WhichOneof("event") == "delta")
        assert finished.output_tokens >= told - 1
        assert finished.output_tokens < 1900
        assert (await edge.to_end(second))[-1].finished.output_tokens > 1


async def test_many_generations_at_once_all_finish_with_exact_counts() -> None:
    async with (
        start_llama(slots=2) as engine,
        start_inference(engine) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
    ):
        request = chat("Tell me a story.", **ENDLESS)
        answers = await asyncio.gather(*(edge.answer(request, 20, account_id=f"a{n % 3}") for n in range(12)))
        for answer in answers:
            assert answer.finished is not None
            assert answer.finished.output_tokens == answer.tokens == 20


async def test_a_parent_that_dies_takes_its_worker_with_it(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, os\n"
        "from tests.fakes_engine import start_llama\n"
        "async def main():\n"
        "    async with start_llama() as engine:\n"
        "        print(engine.supervisor.pid, flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, script, stdout=asyncio.subprocess.PIPE, env=environment
    )
    output, _ = await asyncio.wait_for(parent.communicate(), 20)
    worker = int(output.splitlines()[-1])
    await until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)


async def refusal(file: Path) -> str:
    with pytest.raises(StartupError) as caught:
        async with start_llama(file):
            raise AssertionError("it started")
    assert str(file) in str(caught.value)
    return str(caught.value)


async def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in await refusal(tmp_path / "none.gguf")


async def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    file = tmp_path / "page.gguf"
    file.write_text("<html>not found</html>")
    assert "is not a model" in await refusal(file)


@pytest.mark.parametrize("kept", [40, 100_000])
async def test_a_model_cut_short_is_named(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "cut.gguf"
    file.write_bytes(DEFAULT_FILE.read_bytes()[:kept])
    assert "fetch or export it again" in await refusal(file)


async def test_no_worker_is_left_behind(tmp_path: Path) -> None:
    pids = []
    for _ in range(2):
        async with start_llama() as engine:
            assert isinstance(engine, LlamaEngine)
            pids.append(engine.supervisor.pid)
    await until(lambda: not any(psutil.pid_exists(pid) for pid in pids if pid))
