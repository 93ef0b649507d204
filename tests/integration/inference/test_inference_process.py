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

from muhgpt.inference.v1 import inference_pb2 as pb
from services.inference.default_model import FILE as DEFAULT_FILE
from tests.contract.inference.session_client import chat, open_session
from tests.fakes_engine import EDGE_TOKEN, OPERATOR_TOKEN
from tests.pictures import IMAGE_TOKENS, picture, written

PREFIX = "MUHGPT_INFERENCE_"
SEEING = """
models:
  muh-chat:
    engine: llama
    file: default
    projector: {projector}
    context_length: 2048
    price: {{input: 1, output: 1}}
"""


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


@pytest.fixture
def seeing(environment: dict[str, str], tmp_path: Path, projector: Path) -> dict[str, str]:
    """The environment of a process whose model has vision."""
    models = tmp_path / "models.yaml"
    models.write_text(SEEING.format(projector=projector))
    return {**environment, PREFIX + "MODELS_FILE": str(models)}


def about(**image: object) -> pb.ChatRequest:
    request = chat("Look!", temperature=0)
    request.messages[0].content.append(pb.ContentPart(image=pb.Image(**image)))
    return request


@pytest.mark.parametrize("end", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
async def test_with_a_projector_it_sees_logs_nothing_of_it_and_leaves_no_process(
    seeing: dict[str, str], end: signal.Signals
) -> None:
    async with process(seeing) as started:
        async with open_session(await address(seeing), EDGE_TOKEN) as edge:
            plain, seen = await edge.answer(chat("Look!")), await edge.answer(about(data=written(picture())))
            assert plain.prepared is not None
            assert seen.prepared is not None
            assert seen.prepared.prompt_tokens == plain.prepared.prompt_tokens + IMAGE_TOKENS
            assert seen.finished is not None
            assert seen.finished.prompt_tokens == seen.prepared.prompt_tokens
            inside = await edge.answer(about(url="http://10.0.0.1/canary.png"))
            assert inside.failed is not None
            assert inside.failed.reason == pb.Failed.REASON_INVALID_IMAGE_URL
            assert inside.failed.param == "messages[0].content[1].image_url.url"
            children = psutil.Process(started.pid).children()
            assert len(children) == 3, "llama.cpp and two decoders"
        started.send_signal(end)
        _, log = await asyncio.wait_for(started.communicate(), 20)
        assert not psutil.wait_procs(children, timeout=5)[1]
        assert b"canary" not in log
        assert b"10.0.0.1" not in log


@pytest.mark.parametrize(
    ("setting", "value"),
    [("IMAGES_ALLOWED", "10.0.0.1/8"), ("IMAGES_PORTS", "80,https"), ("IMAGES_PORTS", "0"), ("IMAGES_SIDE", "0")],
)
async def test_a_wrong_setting_of_images_is_refused_by_its_name(
    environment: dict[str, str], setting: str, value: str
) -> None:
    assert f"{PREFIX}{setting}" in await refusal({**environment, PREFIX + setting: value})


@pytest.mark.long
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


@pytest.mark.long
async def test_an_unknown_engine_is_refused_with_file_and_line(environment: dict[str, str], tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(
        "models:\n  m:\n    engine: upstream-of-dreams\n    context_length: 64\n    price: {input: 1, output: 1}\n"
    )
    assert f"{models}:3" in await refusal({**environment, PREFIX + "MODELS_FILE": str(models)})


@pytest.mark.long
async def test_an_unknown_setting_is_refused_with_a_hint(environment: dict[str, str]) -> None:
    assert f"did you mean {PREFIX}LLAMA_SLOTS?" in await refusal({**environment, PREFIX + "LLAMA_SLOT": "2"})


async def test_a_port_in_use_is_refused_by_its_number(environment: dict[str, str]) -> None:
    async with process(environment):
        taken = await address(environment)
        assert f"cannot listen on {taken}" in await refusal({**environment, PREFIX + "LISTEN": taken})
