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
from tests.fakes_engine import Pause
from tests.worlds.in_process.pipeline import collect, streams, text_of, until
from tests.worlds.in_process.platform import COST, ONE, PLENTY, PROMPT, TEXT, TWO, InProcess, start_in_process

LONG_TEXT = "word " * (LARGE // 4)  # goes through the unary Prepare
ANSWERS = 8


async def test_replicas_that_come_are_used(tmp_path: Path) -> None:
    async with start_in_process(tmp_path) as world:
        for service in ("quota", "inference"):
            await world.start(service, TWO)
            world.names.hosts[service] = [ONE, TWO]
        await world.settled()
        for engine in world.engines.values():
            engine.slots = ANSWERS
        pauses = [engine.pause_after(1) for engine in world.engines.values()]
        answers = await asyncio.gather(*(world.open() for _ in range(ANSWERS)))
        assert [len(engine.requests) for engine in world.engines.values()] == [ANSWERS / 2, ANSWERS / 2]
        for pause in pauses:
            pause.resume()
        assert {text_of(await collect(answer)) for answer in answers} == {TEXT}
        assert await world.charged() == ANSWERS * COST


async def test_a_name_without_addresses_changes_nothing(tmp_path: Path) -> None:
    async with start_in_process(tmp_path) as world:
        world.names.hosts.update(auth=[], quota=None, inference=[])
        await world.names.asked_again()
        assert text_of(await collect(await world.open())) == TEXT


# quota


async def test_a_quota_replica_that_drains_while_holds_are_open_loses_none(tmp_path: Path) -> None:
    async with start_in_process(tmp_path, quota=2) as world:
        pause = world.engines[ONE].pause_after(100)
        running = asyncio.create_task(collect(await world.open()))
        await pause.reached()
        carrying = carrier(world)
        assert await world.balance() == PLENTY
        await asyncio.wait_for(world.drain("quota", host_of(carrying.at)), 5)
        assert await world.balance() == PLENTY  # reads find the other one, too
        pause.resume()
        assert text_of(await running) == TEXT
        assert text_of(await collect(await world.open())) == TEXT
        (moved,) = [each for each in streams(world.pipeline, "quota") if each.home == carrying.home]
        assert moved.at != moved.home
        assert await world.charged() == 2 * COST


async def test_a_hold_whose_replica_is_gone_from_its_name_ends_at_another_and_its_session_is_closed(
    tmp_path: Path,
) -> None:
    async with start_in_process(tmp_path, quota=2) as world:
        pause = world.engines[ONE].pause_after(100)
        running = asyncio.create_task(collect(await world.open()))
        await pause.reached()
        gone = carrier(world).home
        stays = TWO if host_of(gone) == ONE else ONE
        world.names.hosts["quota"] = [stays]
        await until(lambda: carrier(world).up and host_of(carrier(world).at) == stays)
        assert carrier(world).home == gone
        assert not carrier(world).usable
        pause.resume()
        assert text_of(await running) == TEXT
        await until(lambda: all(each.home != gone for each in streams(world.pipeline, "quota")))
        assert await world.charged() == COST


async def test_a_session_returns_to_its_replica_when_that_can_be_reached_again(tmp_path: Path) -> None:
    async with start_in_process(tmp_path, quota=2, timings=Timings(return_after=0.1)) as world:
        await asyncio.wait_for(world.drain("quota", ONE), 5)
        await until(lambda: all(each.up and host_of(each.at) == TWO for each in streams(world.pipeline, "quota")))
        assert text_of(await collect(await world.open())) == TEXT
        await world.start("quota", ONE)
        await world.settled()
        assert text_of(await collect(await world.open())) == TEXT
        assert await world.charged() == 2 * COST


# auth


async def test_an_auth_replica_that_drains_is_left_without_a_moment_of_distrust_and_without_a_trace(
    tmp_path: Path,
) -> None:
    async with start_in_process(tmp_path, auth=2) as world:
        first = auth_stream(world).at
        pause = world.engines[ONE].pause_after(100)
        running = asyncio.create_task(collect(await world.open()))
        await pause.reached()
        draining = world.drain("auth", host_of(first))
        while auth_stream(world).at == first or not auth_stream(world).up:
            assert world.pipeline.serving
            await asyncio.sleep(0.001)
        await asyncio.wait_for(draining, 5)  # it waited for no edge
        pause.resume()
        assert text_of(await running) == TEXT

        began = time.monotonic()
        assert await _timed_out_by_revoking(world) == 0  # the session at the first replica ended when it was left
        assert time.monotonic() - began < 3.0  # far below the five seconds that a session lives
        with pytest.raises(Failure) as caught:
            await world.open()
        assert to_api_error(caught.value).status == 401


async def _timed_out_by_revoking(world: InProcess) -> int:
    """Revokes the key; gives the edge sessions that it waited for in vain."""
    answer = await world.call("auth", "RevokeKey", auth_pb2.RevokeKeyRequest(key_id=world.key_id))
    return int(answer.sessions_timed_out)


def host_of(address: str) -> str:
    return address.partition(":")[0]


def carrier(world: InProcess) -> StreamState:
    """The session that carries the one open hold."""
    (carrying,) = [each for each in streams(world.pipeline, "quota") if each.load]
    return carrying


def auth_stream(world: InProcess) -> StreamState:
    (stream,) = streams(world.pipeline, "auth")
    return stream


async def test_an_auth_replica_that_is_gone_from_its_name_is_left_the_same_way(tmp_path: Path) -> None:
    async with start_in_process(tmp_path, auth=2) as world:
        first = auth_stream(world).at
        world.names.hosts["auth"] = [TWO if host_of(first) == ONE else ONE]
        while auth_stream(world).at == first or not auth_stream(world).up:
            assert world.pipeline.serving
            await asyncio.sleep(0.001)
        assert text_of(await collect(await world.open())) == TEXT
        assert await _timed_out_by_revoking(world) == 0


# inference


async def _pause_one(world: InProcess) -> tuple[asyncio.Task[list[Batch]], str, str, Pause]:
    """An answer that stands still; the host where it does, the other host, and what lets it go on."""
    pauses = {host: engine.pause_after(100) for host, engine in world.engines.items()}
    running = asyncio.create_task(collect(await world.open()))
    reached = {asyncio.create_task(pause.reached(), name=host) for host, pause in pauses.items()}
    done, waiting = await asyncio.wait(reached, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    busy = done.pop().get_name()
    idle = TWO if busy == ONE else ONE
    pauses[idle].resume()
    return running, busy, idle, pauses[busy]


async def test_an_inference_replica_that_drains_ends_its_answers_and_gets_no_new_ones(tmp_path: Path) -> None:
    async with start_in_process(tmp_path, inference=2) as world:
        running, busy, idle, pause = await _pause_one(world)
        draining = world.drain("inference", busy)
        await until(lambda: sum(each.usable for each in streams(world.pipeline, "inference")) == 1)
        for engine in world.engines.values():
            engine.context_length = 10**6
        for text in ("hello", LONG_TEXT):
            assert text_of(await collect(await world.open(text=text))) == TEXT
        assert (len(world.engines[busy].requests), len(world.engines[idle].requests)) == (1, 2)
        assert not draining.done()
        pause.resume()
        assert text_of(await running) == TEXT
        await asyncio.wait_for(draining, 5)


async def test_an_answer_that_outlasts_the_drain_is_cut_and_charged_for_what_was_delivered(tmp_path: Path) -> None:
    async with start_in_process(tmp_path, drain_timeout=0.3) as world:
        world.engines[ONE].pause_after(100)
        answer = await world.open()
        began = time.monotonic()
        draining = world.drain("inference", ONE)
        with pytest.raises(Failure) as caught:
            await collect(answer)
        assert to_api_error(caught.value).status == 502
        assert time.monotonic() - began >= 0.3
        await asyncio.wait_for(draining, 5)
        assert await world.charged() == PROMPT + 3 * 100


async def test_an_answer_whose_replica_is_gone_from_its_name_ends_there(tmp_path: Path) -> None:
    async with start_in_process(tmp_path) as world:
        pause = world.engines[ONE].pause_after(100)
        running = asyncio.create_task(collect(await world.open()))
        await pause.reached()
        await world.start("inference", TWO)
        world.names.hosts["inference"] = [TWO]
        await world.settled()
        assert text_of(await collect(await world.open())) == TEXT
        assert (len(world.engines[ONE].requests), len(world.engines[TWO].requests)) == (1, 1)
        pause.resume()
        assert text_of(await running) == TEXT
        await asyncio.wait_for(world.drain("inference", ONE), 5)  # nothing is left there
        assert await world.charged() == 2 * COST
