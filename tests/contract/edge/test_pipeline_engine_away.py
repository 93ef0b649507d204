"""Replicas whose engines are away for a moment, as while a worker is restarted: others take their requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.edge.http.errors import ApiError
from services.edge.peers.inference.peer import LARGE
from services.edge.peers.inference.session import InferenceLink
from services.inference.domain.errors import EngineDied, EngineUnavailable
from tests.contract.edge.platform_for_edge import collect, text_of, until
from tests.contract.edge.town import COST, ONE, TEXT, TWO, Town, start_town

LONG_TEXT = "w" * LARGE  # goes through the unary Prepare
ENOUGH = 20  # requests, of which the first replica gets some


def link_to(town: Town, host: str) -> InferenceLink:
    links = town.pipeline._inference._links
    return next(link for replica, link in links.items() if replica.address.startswith(f"{host}:"))


def stop_engine(town: Town, host: str) -> None:
    town.engines[host].ready = False
    town.engines[host].fail_prepare(EngineUnavailable("being restarted"))


@pytest.mark.parametrize("text", ["hello there", LONG_TEXT], ids=["small", "large"])
async def test_a_request_whose_engine_is_away_goes_to_another_replica(tmp_path: Path, text: str) -> None:
    async with start_town(tmp_path, inference=2) as (town, _):
        stop_engine(town, ONE)
        assert link_to(town, ONE).rank("muh-chat") == 0  # as far as the edge knows
        for _ in range(ENOUGH):
            assert text_of(await collect(await town.open(text=text))) == TEXT
        assert link_to(town, ONE).rank("muh-chat") == 1  # it was met, and is avoided since
        assert len(town.engines[TWO].started) == ENOUGH


async def test_a_replica_whose_engine_is_back_is_used_again(tmp_path: Path) -> None:
    async with start_town(tmp_path, inference=2) as (town, _):
        stop_engine(town, ONE)
        for _ in range(ENOUGH):
            await collect(await town.open())
        town.engines[ONE].ready = True
        town.engines[ONE].fail_prepare(None)
        await until(lambda: link_to(town, ONE).rank("muh-chat") == 0)
        for _ in range(ENOUGH):
            assert text_of(await collect(await town.open())) == TEXT
        assert town.engines[ONE].started
        await until(lambda: not town.pipeline._quota.unfinished)
        assert await town.charged() == 2 * ENOUGH * COST


@pytest.mark.parametrize("text", ["hello there", LONG_TEXT], ids=["small", "large"])
async def test_when_every_engine_is_away_the_client_is_told_and_nothing_is_charged(tmp_path: Path, text: str) -> None:
    async with start_town(tmp_path, inference=2) as (town, _):
        for host in (ONE, TWO):
            stop_engine(town, host)
        for _ in range(3):
            with pytest.raises(ApiError) as caught:
                await town.open(text=text)
            assert (caught.value.status, caught.value.type) == (502, "upstream_error")
        await until(lambda: not town.pipeline._quota.unfinished)
        assert await town.charged() == 0


@pytest.mark.parametrize("text", ["hello there", LONG_TEXT], ids=["small", "large"])
async def test_a_request_that_an_engine_died_under_is_not_offered_to_another_replica(tmp_path: Path, text: str) -> None:
    async with start_town(tmp_path, inference=2) as (town, _):
        for host in (ONE, TWO):
            town.engines[host].fail_prepare(EngineDied("the worker died"))
        with pytest.raises(ApiError) as caught:
            await town.open(text=text)
        assert caught.value.status == 502
        assert sum(len(town.engines[host].requests) for host in (ONE, TWO)) == 1
