"""Replicas found by name: they come, they drain, they go, and no answer notices (G9)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from muhgpt.auth.v1 import auth_pb2
from services.edge.endpoints.errors import to_api_error
from services.edge.peers.errors import Failure
from services.edge.peers.inference.peer import LARGE
from services.edge.peers.streaming.state import StreamState
from services.edge.peers.timings import Timings
from services.edge.serving.answer import Batch
from tests.contract.edge.platform_for_edge import collect, streams, text_of, until
from tests.contract.edge.town import COST, ONE, PLENTY, PROMPT, TEXT, TWO, Town, start_town
from tests.fakes_engine import Pause

LONG_TEXT = "word " * (LARGE // 4)  # goes through the unary Prepare
ANSWERS = 8


async def test_replicas_that_come_are_used(tmp_path: Path) -> None:
    async with start_town(tmp_path) as (town, stack):
        for service in ("quota", "inference"):
            await town.start(stack, service, TWO)
            town.names.hosts[service] = [ONE, TWO]
        await town.settled()
        for engine in town.engines.values():
            engine.slots = ANSWERS
        pauses = [engine.pause_after(1) for engine in town.engines.values()]
        answers = await asyncio.gather(*(town.open() for _ in range(ANSWERS)))
        assert [len(engine.requests) for engine in town.engines.values()] == [ANSWERS / 2, ANSWERS / 2]
        for pause in pauses:
            pause.resume()
        assert {text_of(await collect(answer)) for answer in answers} == {TEXT}
        assert await town.charged() == ANSWERS * COST


async def test_a_name_without_addresses_changes_nothing(tmp_path: Path) -> None:
    async with start_town(tmp_path) as (town, _):
        town.names.hosts.update(auth=[], quota=None, inference=[])
        await town.names.asked_again()
        assert text_of(await collect(await town.open())) == TEXT


# quota


async def test_a_quota_replica_that_drains_while_holds_are_open_loses_none(tmp_path: Path) -> None:
    async with start_town(tmp_path, quota=2) as (town, _):
        pause = town.engines[ONE].pause_after(100)
        running = asyncio.create_task(collect(await town.open()))
        await pause.reached()
        carrying = carrier(town)
        assert await town.balance() == PLENTY
        await asyncio.wait_for(town.drain("quota", host_of(carrying.at)), 5)
        assert await town.balance() == PLENTY  # reads find the other one, too
        pause.resume()
        assert text_of(await running) == TEXT
        assert text_of(await collect(await town.open())) == TEXT
        (moved,) = [each for each in streams(town.pipeline, "quota") if each.home == carrying.home]
        assert moved.at != moved.home
        assert await town.charged() == 2 * COST


async def test_a_hold_whose_replica_is_gone_from_its_name_ends_at_another_and_its_session_is_closed(
    tmp_path: Path,
) -> None:
    async with start_town(tmp_path, quota=2) as (town, _):
        pause = town.engines[ONE].pause_after(100)
        running = asyncio.create_task(collect(await town.open()))
        await pause.reached()
        gone = carrier(town).home
        stays = TWO if host_of(gone) == ONE else ONE
        town.names.hosts["quota"] = [stays]
        await until(lambda: carrier(town).up and host_of(carrier(town).at) == stays)
        assert carrier(town).home == gone
        assert not carrier(town).usable
        pause.resume()
        assert text_of(await running) == TEXT
        await until(lambda: all(each.home != gone for each in streams(town.pipeline, "quota")))
        assert await town.charged() == COST


async def test_a_session_returns_to_its_replica_when_that_can_be_reached_again(tmp_path: Path) -> None:
    async with start_town(tmp_path, quota=2, timings=Timings(return_after=0.1)) as (town, stack):
        await asyncio.wait_for(town.drain("quota", ONE), 5)
        await until(lambda: all(each.up and host_of(each.at) == TWO for each in streams(town.pipeline, "quota")))
        assert text_of(await collect(await town.open())) == TEXT
        await town.start(stack, "quota", ONE)
        await town.settled()
        assert text_of(await collect(await town.open())) == TEXT
        assert await town.charged() == 2 * COST


# auth


async def test_an_auth_replica_that_drains_is_left_without_a_moment_of_distrust_and_without_a_trace(
    tmp_path: Path,
) -> None:
    async with start_town(tmp_path, auth=2) as (town, _):
        first = auth_stream(town).at
        pause = town.engines[ONE].pause_after(100)
        running = asyncio.create_task(collect(await town.open()))
        await pause.reached()
        draining = town.drain("auth", host_of(first))
        while auth_stream(town).at == first or not auth_stream(town).up:
            assert town.pipeline.serving
            await asyncio.sleep(0.001)
        await asyncio.wait_for(draining, 5)  # it waited for no edge
        pause.resume()
        assert text_of(await running) == TEXT

        began = time.monotonic()
        assert await _timed_out_by_revoking(town) == 0  # the session at the first replica ended when it was left
        assert time.monotonic() - began < 3.0  # far below the five seconds that a session lives
        with pytest.raises(Failure) as caught:
            await town.open()
        assert to_api_error(caught.value).status == 401


async def _timed_out_by_revoking(town: Town) -> int:
    """Revokes the key; gives the edge sessions that it waited for in vain."""
    answer = await town.call("auth", "RevokeKey", auth_pb2.RevokeKeyRequest(key_id=town.key_id))
    return int(answer.sessions_timed_out)


def host_of(address: str) -> str:
    return address.partition(":")[0]


def carrier(town: Town) -> StreamState:
    """The session that carries the one open hold."""
    (carrying,) = [each for each in streams(town.pipeline, "quota") if each.load]
    return carrying


def auth_stream(town: Town) -> StreamState:
    (stream,) = streams(town.pipeline, "auth")
    return stream


async def test_an_auth_replica_that_is_gone_from_its_name_is_left_the_same_way(tmp_path: Path) -> None:
    async with start_town(tmp_path, auth=2) as (town, _):
        first = auth_stream(town).at
        town.names.hosts["auth"] = [TWO if host_of(first) == ONE else ONE]
        while auth_stream(town).at == first or not auth_stream(town).up:
            assert town.pipeline.serving
            await asyncio.sleep(0.001)
        assert text_of(await collect(await town.open())) == TEXT
        assert await _timed_out_by_revoking(town) == 0


# inference


async def _pause_one(town: Town) -> tuple[asyncio.Task[list[Batch]], str, str, Pause]:
    """An answer that stands still; the host where it does, the other host, and what lets it go on."""
    pauses = {host: engine.pause_after(100) for host, engine in town.engines.items()}
    running = asyncio.create_task(collect(await town.open()))
    reached = {asyncio.create_task(pause.reached(), name=host) for host, pause in pauses.items()}
    done, waiting = await asyncio.wait(reached, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    busy = done.pop().get_name()
    idle = TWO if busy == ONE else ONE
    pauses[idle].resume()
    return running, busy, idle, pauses[busy]


async def test_an_inference_replica_that_drains_ends_its_answers_and_gets_no_new_ones(tmp_path: Path) -> None:
    async with start_town(tmp_path, inference=2) as (town, _):
        running, busy, idle, pause = await _pause_one(town)
        draining = town.drain("inference", busy)
        await until(lambda: sum(each.usable for each in streams(town.pipeline, "inference")) == 1)
        for engine in town.engines.values():
            engine.context_length = 10**6
        for text in ("hello", LONG_TEXT):
            assert text_of(await collect(await town.open(text=text))) == TEXT
        assert (len(town.engines[busy].requests), len(town.engines[idle].requests)) == (1, 2)
        assert not draining.done()
        pause.resume()
        assert text_of(await running) == TEXT
        await asyncio.wait_for(draining, 5)


async def test_an_answer_that_outlasts_the_drain_is_cut_and_charged_for_what_was_delivered(tmp_path: Path) -> None:
    async with start_town(tmp_path, drain_timeout=0.3) as (town, _):
        town.engines[ONE].pause_after(100)
        answer = await town.open()
        began = time.monotonic()
        draining = town.drain("inference", ONE)
        with pytest.raises(Failure) as caught:
            await collect(answer)
        assert to_api_error(caught.value).status == 502
        assert time.monotonic() - began >= 0.3
        await asyncio.wait_for(draining, 5)
        await until(lambda: not town.pipeline.unfinished_holds)
        assert await town.charged() == PROMPT + 3 * 100


async def test_an_answer_whose_replica_is_gone_from_its_name_ends_there(tmp_path: Path) -> None:
    async with start_town(tmp_path) as (town, stack):
        pause = town.engines[ONE].pause_after(100)
        running = asyncio.create_task(collect(await town.open()))
        await pause.reached()
        await town.start(stack, "inference", TWO)
        town.names.hosts["inference"] = [TWO]
        await town.settled()
        assert text_of(await collect(await town.open())) == TEXT
        assert (len(town.engines[ONE].requests), len(town.engines[TWO].requests)) == (1, 1)
        pause.resume()
        assert text_of(await running) == TEXT
        await asyncio.wait_for(town.drain("inference", ONE), 5)  # nothing is left there
        assert await town.charged() == 2 * COST
