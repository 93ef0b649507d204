"""The inference process as an operator starts and stops it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from services.model_list import DEFAULT_FILE
from tests.contract.inference.session_client import chat, open_session
from tests.fakes_engine import EDGE_TOKEN, OPERATOR_TOKEN

PREFIX = "MUHGPT_INFERENCE_"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "edge").write_text(EDGE_TOKEN)
    (tmp_path / "operator").write_text(OPERATOR_TOKEN)
    settings = {
        "EDGE_TOKEN_FILE": str(tmp_path / "edge"),
        "OPERATOR_TOKEN_FILE": str(tmp_path / "operator"),
        "ADDRESS_FILE": str(tmp_path / "address"),
    }
    return {**os.environ, **{PREFIX + name: value for name, value in settings.items()}}


@asynccontextmanager
async def process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.inference.main"), stderr=asyncio.subprocess.PIPE, env=environment
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.communicate()


async def address(environment: dict[str, str]) -> str:
    """Waits until the process serves."""
    file = Path(environment[PREFIX + "ADDRESS_FILE"])
    async with asyncio.timeout(30):
        while not file.exists():  # noqa: ASYNC110  another process writes it
            await asyncio.sleep(0.01)
    return file.read_text()


async def refusal(environment: dict[str, str]) -> str:
    async with process(environment) as started:
        _, errors = await asyncio.wait_for(started.communicate(), 30)
    assert started.returncode == 2
    assert b"Traceback" not in errors
    return errors.decode()


async def test_it_answers_with_the_shipped_model_and_ends_cleanly_on_sigterm(environment: dict[str, str]) -> None:
    async with process(environment) as started:
        async with open_session(await address(environment), EDGE_TOKEN) as edge:
            answer = await edge.answer(chat("Hello!", temperature=0))
            assert answer.finished is not None
            assert answer.text()
            workers = psutil.Process(started.pid).children()
        started.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(started.communicate(), 20)
        assert started.returncode == 0
        assert not psutil.wait_procs(workers, timeout=5)[1]
        assert answer.text().encode() not in log
        assert b"Hello!" not in log


async def test_another_gguf_is_one_setting(environment: dict[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(DEFAULT_FILE.read_bytes())
    async with (
        process({**environment, PREFIX + "MODEL_FILE": str(other)}),
        open_session(await address(environment), EDGE_TOKEN) as edge,
    ):
        assert (await edge.answer()).finished is not None
    assert "none.gguf" in await refusal({**environment, PREFIX + "MODEL_FILE": str(tmp_path / "none.gguf")})


async def test_a_corrupt_model_is_refused_by_name(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "cut.gguf"
    file.write_bytes(DEFAULT_FILE.read_bytes()[:200_000])
    errors = await refusal({**environment, PREFIX + "MODEL_FILE": str(file)})
    assert f"error: cannot load the model {file}" in errors


async def test_an_unknown_engine_is_refused_with_file_and_line(environment: dict[str, str], tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(
        "models:\n  m:\n    engine: upstream-of-dreams\n    context_length: 64\n    price: {input: 1, output: 1}\n"
    )
    assert f"{models}:3" in await refusal({**environment, PREFIX + "MODELS_FILE": str(models)})


async def test_an_unknown_setting_is_refused_with_a_hint(environment: dict[str, str]) -> None:
    assert f"did you mean {PREFIX}LLAMA_SLOTS?" in await refusal({**environment, PREFIX + "LLAMA_SLOT": "2"})


async def test_a_port_in_use_is_refused_by_its_number(environment: dict[str, str]) -> None:
    async with process(environment):
        taken = await address(environment)
        assert f"cannot listen on {taken}" in await refusal({**environment, PREFIX + "LISTEN": taken})
