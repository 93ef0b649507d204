"""Several replicas of a service: one that is away is replaced, and nothing that was owed to it is lost."""

from __future__ import annotations

import asyncio

from tests.contract.edge.platform_for_edge import collect, start_platform, text_of, until

WORDS = [f"w{number} " for number in range(200)]


async def test_holds_of_a_quota_replica_that_died_are_finished_at_another() -> None:
    async with start_platform(*WORDS, second="quota") as platform:
        pause = platform.engine.pause_after(10)
        answer = await platform.open()
        await pause.reached()
        first = platform.pipeline._quota.link_of("acct_a")
        home = next(wire for wire in platform.wires.values() if wire.address == first.at.address)
        home.refuse()
        pause.resume()
        assert text_of(await collect(answer)) == "".join(WORDS)
        assert platform.quota.settled == [200]
        assert first.at.address != home.address


async def test_an_auth_replica_that_is_away_is_replaced_by_another_for_the_stream_and_for_calls() -> None:
    async with start_platform("a", second="auth") as platform:
        at = platform.pipeline._auth._watch._at
        next(wire for wire in platform.wires.values() if at and wire.address == at.address).refuse()
        await until(lambda: platform.auth.sessions >= 2)
        await until(lambda: platform.pipeline._auth._watch._heart is not None)
        assert text_of(await collect(await platform.open())) == "a"


async def test_a_key_that_no_edge_knows_is_asked_again_while_auth_comes_back() -> None:
    async with start_platform("a") as platform:
        key = platform.auth.add_key(key_id="key_b")
        platform.wires["auth"].refuse()
        await until(lambda: platform.pipeline._auth._watch._heart is None)
        asking = asyncio.create_task(platform.open(key))
        await until(lambda: bool(platform.pipeline._auth._asking))
        platform.wires["auth"].restore()
        assert text_of(await collect(await asking)) == "a"


async def test_requests_go_to_the_inference_replica_that_is_there_and_has_the_least_to_do() -> None:
    async with start_platform(*WORDS, second="inference") as platform:
        links = list(platform.pipeline._inference._links.values())
        await until(lambda: all(link.up and link.models for link in links))
        platform.engine.slots = 100
        pause = platform.engine.pause_after(1)  # else the first may be done before the last is opened
        answers = await asyncio.gather(*(platform.open() for _ in range(10)))
        assert all(link._load or link._generations for link in links)
        pause.resume()
        for batches in await asyncio.gather(*(collect(answer) for answer in answers)):
            assert text_of(batches) == "".join(WORDS)
        platform.wires["second"].refuse()
        await until(lambda: not all(link.up for link in links))
        assert text_of(await collect(await platform.open())) == "".join(WORDS)
