"""Exchanging the models that run: what stays, what is started, what is closed and when."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers import models as models_of_tokenizers

from common.model_list import ModelList, load_model_list
from servicekit.clock import SystemClock
from servicekit.errors import StartupError
from services.inference.domain.chat import ChatRequest, Message, Role
from services.inference.engines.factory import EngineFactory
from services.inference.fleet import RETIREMENT, Fleet
from services.inference.settings import InferenceSettings
from tests.engine_steps import steps_of
from tests.upstreams import silence, upstream

MODEL = """
  {name}:
    engine: upstream
    base_url: {url}/v1
    model: m
    key_file: key
    context_length: {length}
    price: {{input: {price}, output: 1}}
    aliases: [{name}-alias]
"""
ASK = ChatRequest("a", (Message(Role.USER, ("Hello!",)),))


class Sleeps:
    """Ends a sleep when the test says so; tells how long it was to be."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._turn = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._turn.acquire()

    async def over(self) -> None:
        """The sleep that is under way ends."""
        self._turn.release()
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
def settings(tmp_path: Path) -> InferenceSettings:
    (tmp_path / "key").write_text("sk-1")
    return InferenceSettings(edge_token_file=tmp_path / "e", operator_token_file=tmp_path / "o")


def models(
    tmp_path: Path, *names: str, url: str = "http://127.0.0.1:1", price: int = 1, length: int = 2048
) -> ModelList:
    file = tmp_path / "models.yaml"
    texts = (MODEL.format(name=name, url=url, price=price, length=length) for name in names)
    file.write_text("models:" + "".join(texts))
    return load_model_list(file)


def fleet_of(settings: InferenceSettings, sleeps: Sleeps) -> Fleet:
    async def see() -> None:
        raise AssertionError("no model has vision")

    return Fleet(EngineFactory(settings, SystemClock(), {}), 256, see, sleeps)


async def test_what_does_not_change_keeps_its_engine_and_its_queue(tmp_path: Path, settings: InferenceSettings) -> None:
    fleet = fleet_of(settings, Sleeps())
    await fleet.start(models(tmp_path, "a", "b"))
    a, b = fleet.registry.find("a"), fleet.registry.find("b-alias")
    await fleet.reload(models(tmp_path, "a", "c", price=7))
    assert fleet.registry.find("a-alias").engine is a.engine
    assert fleet.registry.find("a").admission is a.admission
    assert fleet.registry.find("c").engine is not b.engine
    await fleet.reload(models(tmp_path, "a", length=4096))
    assert fleet.registry.find("a").engine is not a.engine
    await fleet.close()


async def test_a_new_key_in_its_file_makes_a_new_engine(tmp_path: Path, settings: InferenceSettings) -> None:
    fleet = fleet_of(settings, Sleeps())
    await fleet.start(models(tmp_path, "a"))
    engine = fleet.registry.find("a").engine
    (tmp_path / "key").write_text("sk-2")
    await fleet.reload(models(tmp_path, "a"))
    assert fleet.registry.find("a").engine is not engine
    await fleet.close()


async def test_a_list_that_cannot_be_served_changes_nothing(tmp_path: Path, settings: InferenceSettings) -> None:
    fleet = fleet_of(settings, Sleeps())
    await fleet.start(models(tmp_path, "a"))
    engine = fleet.registry.find("a").engine
    (tmp_path / "key").unlink()
    with pytest.raises(StartupError, match="cannot read the key's file"):
        await fleet.reload(models(tmp_path, "a", "b"))
    assert fleet.registry.find("a").engine is engine
    await fleet.close()


async def test_a_tokenizer_that_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, settings: InferenceSettings
) -> None:
    fleet = fleet_of(settings, Sleeps())
    file = tmp_path / "models.yaml"
    file.write_text(
        "models:" + MODEL.format(name="a", url="http://127.0.0.1:1", price=1, length=64) + "    tokenizer: q/t.json\n"
    )
    place = rf"{re.escape(str(file))}:10: models\.a\.tokenizer: cannot count with it: "
    with pytest.raises(StartupError, match=place + "No such file or directory"):
        await fleet.start(load_model_list(file))
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "t.json").write_text("{}")
    with pytest.raises(StartupError, match=place + "it is not a tokenizer.json"):
        await fleet.start(load_model_list(file))
    Tokenizer(models_of_tokenizers.BPE()).save(str(tmp_path / "q" / "t.json"))
    with pytest.raises(StartupError, match=place + "beside it stands neither"):
        await fleet.start(load_model_list(file))
    (tmp_path / "q" / "chat_template.jinja").write_text("{% if %}")
    with pytest.raises(StartupError, match=place + "its chat template does not compile"):
        await fleet.start(load_model_list(file))
    await fleet.close()


async def test_an_engine_that_left_the_list_is_closed_when_it_is_idle_and_not_sooner(
    tmp_path: Path, settings: InferenceSettings
) -> None:
    sleeps = Sleeps()
    fleet = fleet_of(settings, sleeps)
    async with upstream(silence) as server:
        await fleet.start(models(tmp_path, "a", url=server.url))
        target = fleet.registry.find("a")

        async def generate() -> None:
            async with target.admission.slot("acct", 1):
                async for _ in steps_of(await target.engine.prepare(ASK), 5):
                    pass

        running = asyncio.create_task(generate())
        async with asyncio.timeout(5):
            while not server.requests:  # noqa: ASYNC110  the server says nothing when it is asked
                await asyncio.sleep(0.002)
        await fleet.reload(models(tmp_path, "b"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert sleeps.asked == [RETIREMENT]
        await sleeps.over()
        await sleeps.over()
        assert server.open == 1, "its request still runs"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sleeps.over()
        assert len(sleeps.asked) == 3, "nobody waits any more"
        await fleet.close()
