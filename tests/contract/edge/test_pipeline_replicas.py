"""Several replicas of a service: one that is away is replaced, and nothing that was owed to it is lost."""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY

from services.edge.peers.inference.peer import LARGE
from tests.worlds.in_process.pipeline import ScriptedPlatform, collect, start_platform, streams, text_of, until
from tests.worlds.in_process.scripted_quota import ScriptedQuota
from tests.worlds.in_process.wire import Wire

WORDS = [f"w{number} " for number in range(200)]


async def test_holds_of_a_quota_replica_that_died_are_finished_at_another() -> None:
    async with start_platform(*WORDS, second="quota") as platform:
        pause = platform.engine.pause_after(10)
        answer = await platform.open()
        await pause.reached()
        (first,) = [each for each in streams(platform.pipeline, "quota") if each.load]
        wire_at(platform, first.at).refuse()
        pause.resume()
        assert text_of(await collect(answer)) == "".join(WORDS)
        assert platform.quota.settled == [200]
        (moved,) = [each for each in streams(platform.pipeline, "quota") if each.home == first.home]
        assert moved.at != first.at


async def test_an_auth_replica_that_is_away_is_replaced_by_another_for_the_stream_and_for_calls() -> None:
    async with start_platform("a", second="auth") as platform:
        (stream,) = streams(platform.pipeline, "auth")
        wire_at(platform, stream.at).refuse()
        await until(lambda: platform.auth.sessions >= 2)
        await until(lambda: all(each.up for each in streams(platform.pipeline, "auth")))
        assert text_of(await collect(await platform.open())) == "a"


async def test_a_key_that_no_edge_knows_is_asked_again_while_auth_comes_back() -> None:
    async with start_platform("a") as platform:
        key = platform.auth.add_key(key_id="key_b")
        platform.wires["auth"].refuse()
        await until(lambda: not any(each.up for each in streams(platform.pipeline, "auth")))
        missed = misses()
        asking = asyncio.create_task(platform.open(key))
        await until(lambda: misses() > missed)
        platform.wires["auth"].restore()
        assert text_of(await collect(await asking)) == "a"


async def test_requests_go_to_the_inference_replica_that_is_there_and_has_the_least_to_do() -> None:
    async with start_platform(*WORDS, second="inference") as platform:
        await until(lambda: all(each.usable for each in streams(platform.pipeline, "inference")))
        platform.engine.slots = 100
        pause = platform.engine.pause_after(1)  # else the first may be done before the last is opened
        answers = await asyncio.gather(*(platform.open() for _ in range(10)))
        assert all(each.load for each in streams(platform.pipeline, "inference"))
        pause.resume()
        for batches in await asyncio.gather(*(collect(answer) for answer in answers)):
            assert text_of(batches) == "".join(WORDS)
        platform.wires["second"].refuse()
        await until(lambda: not all(each.up for each in streams(platform.pipeline, "inference")))
        assert text_of(await collect(await platform.open())) == "".join(WORDS)


async def test_a_large_request_that_a_stopping_replica_does_not_take_goes_to_another() -> None:
    """It takes no new connections and has not said on its stream that it drains."""
    async with start_platform("a", second="inference", quota=ScriptedQuota(balance=10**9)) as platform:
        platform.engine.context_length = 10**6
        await until(lambda: all(each.usable for each in streams(platform.pipeline, "inference")))
        stopping = platform.wires["second"]
        stopping.refuse_new()
        while not stopping.refused:  # of equals any is asked first
            answer = await platform.open(text="word " * (LARGE // 4))
            assert text_of(await collect(answer)) == "a"
        assert all(each.usable for each in streams(platform.pipeline, "inference"))


def wire_at(platform: ScriptedPlatform, address: str) -> Wire:
    return next(wire for wire in platform.wires.values() if wire.address == address)


def misses() -> float:
    """Keys that were not in the cache."""
    return REGISTRY.get_sample_value("muhgpt_edge_principal_lookups_total", {"result": "miss"}) or 0.0
