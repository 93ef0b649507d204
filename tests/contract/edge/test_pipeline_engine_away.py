"""Replicas whose engines are away for a moment, as while a worker is restarted: others take their requests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.edge.endpoints.errors import to_api_error
from services.edge.peers.errors import Failure
from services.edge.peers.inference.peer import LARGE
from services.inference.domain.errors import EngineDied, EngineUnavailable
from tests.worlds.in_process.pipeline import collect, text_of
from tests.worlds.in_process.platform import COST, ONE, PLENTY, TEXT, TWO, InProcess, start_in_process

LONG_TEXT = "w" * LARGE  # goes through the unary Prepare
ENOUGH = 20  # requests, of which the first replica gets some


def stop_engine(world: InProcess, host: str) -> None:
    world.engines[host].ready = False
    world.engines[host].fail_prepare(EngineUnavailable("being restarted"))


@pytest.mark.parametrize("text", ["hello there", LONG_TEXT], ids=["small", "large"])
async def test_a_request_whose_engine_is_away_goes_to_another_replica(tmp_path: Path, text: str) -> None:
    async with start_in_process(tmp_path, inference=2) as world:
        world.engines[ONE].fail_prepare(EngineUnavailable("not known to be away"))
        for _ in range(ENOUGH):
            assert text_of(await collect(await world.open(text=text))) == TEXT
        assert world.engines[ONE].requests
        assert len(world.engines[TWO].started) == ENOUGH


async def test_a_replica_whose_engine_is_away_is_asked_once_at_most(tmp_path: Path) -> None:
    async with start_in_process(tmp_path, inference=2) as world:
        stop_engine(world, ONE)
        for _ in range(ENOUGH):
            assert text_of(await collect(await world.open())) == TEXT
        assert len(world.engines[ONE].requests) <= 1


async def test_a_replica_whose_engine_is_back_is_used_again(tmp_path: Path) -> None:
    async with start_in_process(tmp_path, inference=2) as world:
        account = await world.account("busy@example.com", requests_per_minute=10_000)
        await world.grant(PLENTY, account)
        key = (await world.key_of(account)).secret
        stop_engine(world, ONE)
        for _ in range(ENOUGH):
            await collect(await world.open(key=key))
        world.engines[ONE].ready = True
        world.engines[ONE].fail_prepare(None)
        answers = ENOUGH
        while not world.engines[ONE].started:  # the edge asks again within a second
            assert text_of(await collect(await world.open(key=key))) == TEXT
            answers += 1
            await asyncio.sleep(0.05)
        assert await world.charged() == answers * COST


@pytest.mark.parametrize("text", ["hello there", LONG_TEXT], ids=["small", "large"])
async def test_when_every_engine_is_away_the_client_is_told_and_nothing_is_charged(tmp_path: Path, text: str) -> None:
    async with start_in_process(tmp_path, inference=2) as world:
        for host in (ONE, TWO):
            stop_engine(world, host)
        for _ in range(3):
            with pytest.raises(Failure) as caught:
                await world.open(text=text)
            assert (to_api_error(caught.value).status, to_api_error(caught.value).type) == (502, "upstream_error")
        assert await world.charged() == 0


@pytest.mark.parametrize("text", ["hello there", LONG_TEXT], ids=["small", "large"])
async def test_a_request_that_an_engine_died_under_is_not_offered_to_another_replica(tmp_path: Path, text: str) -> None:
    async with start_in_process(tmp_path, inference=2) as world:
        for host in (ONE, TWO):
            world.engines[host].fail_prepare(EngineDied("the worker died"))
        with pytest.raises(Failure) as caught:
            await world.open(text=text)
        assert to_api_error(caught.value).status == 502
        assert sum(len(world.engines[host].requests) for host in (ONE, TWO)) == 1
