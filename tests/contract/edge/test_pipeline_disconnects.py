"""Clients that leave, at every phase: nothing stays held, nothing goes on, what was generated is paid (G3, G4)."""

from __future__ import annotations

import asyncio

import pytest

from services.edge.peers.inference.generation import DELTAS_MOST
from services.edge.peers.timings import Timings
from tests.fakes_engine import ScriptedEngine
from tests.worlds.in_process.pipeline import Reader, ScriptedPlatform, collect, start_platform, streams, text_of, until

WORDS = [f"w{number} " for number in range(200)]


async def _steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _at_rest(platform: ScriptedPlatform) -> None:
    """Waits until no hold is open, at quota or here, and no answer is counted."""
    pipeline = platform.pipeline
    await until(lambda: platform.quota.open_holds == 0)
    await until(lambda: pipeline.unfinished_holds == 0)
    assert pipeline.open_answers == 0
    assert all(stream.load == 0 for stream in streams(pipeline, "inference"))


async def test_a_client_that_leaves_while_opening_leaves_nothing_behind_whatever_step_it_leaves_at() -> None:
    async with start_platform(*WORDS) as platform:
        await platform.caller()
        platform.engine.slots = 1000
        steps, whole = 0, 0
        while whole < 3:
            opening = asyncio.create_task(platform.open())
            await _steps(steps)
            if opening.done():
                whole += 1
                await opening.result().aclose()
            else:
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)
            await _at_rest(platform)
            steps += 1 + steps // 20
        made = len(platform.quota.settled) + platform.quota.released
        assert made == len(platform.quota.holds)


@pytest.mark.parametrize("milliseconds", range(14))
async def test_a_client_that_leaves_while_opening_leaves_nothing_behind_whenever_it_leaves(milliseconds: int) -> None:
    async with start_platform(*WORDS) as platform:
        opening = asyncio.create_task(platform.open())
        await asyncio.wait({opening}, timeout=milliseconds / 1000)
        opening.cancel()
        for outcome in await asyncio.gather(opening, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                await outcome.aclose()
        await _at_rest(platform)


@pytest.mark.parametrize("wanted", [0, 1, 2, 5, 20, 60])
async def test_a_client_that_leaves_midway_stops_the_engine_and_pays_what_was_generated_in_its_hold(
    wanted: int,
) -> None:
    async with start_platform(*WORDS) as platform:
        pause = platform.engine.pause_after(100)
        answer = await platform.open()
        reader = Reader(answer)
        received = 0
        while received < wanted:
            received += len((await reader.next()).deltas)
        await pause.reached()
        await answer.aclose()
        await asyncio.wait_for(platform.engine.wait_stopped(), 0.25)
        await _at_rest(platform)
        assert received <= platform.quota.settled[0] <= received + 64
        await answer.aclose()
        assert len(platform.quota.settled) == 1


async def test_a_task_cancelled_while_it_waits_for_output_can_still_close_its_answer() -> None:
    async with start_platform(*WORDS) as platform:
        pause = platform.engine.pause_after(3)
        answer = await platform.open()
        reader = asyncio.create_task(collect(answer))
        await pause.reached()
        await _steps(20)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await answer.aclose()
        await _at_rest(platform)
        assert platform.quota.settled == [3]


async def test_a_client_that_leaves_while_the_charge_is_committed_is_charged_all_the_same() -> None:
    async with start_platform("a", "b", "c") as platform:
        platform.quota.mute.add("settle")
        answer = await platform.open()
        reader = asyncio.create_task(collect(answer))
        await until(lambda: bool(platform.quota.settled))
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await answer.aclose()
        platform.quota.mute.clear()
        platform.wires["quota"].cut()
        await _at_rest(platform)
        assert platform.quota.settled == [3]


async def test_closing_after_the_last_batch_changes_nothing() -> None:
    async with start_platform("a", "b", "c") as platform:
        answer = await platform.open()
        assert text_of(await collect(answer)) == "abc"
        await answer.aclose()
        await _at_rest(platform)
        assert platform.quota.settled == [3]
        assert platform.quota.released == 0


async def test_a_client_that_stops_reading_stops_its_engine_and_no_other() -> None:
    words = [f"w{number} " for number in range(DELTAS_MOST + 100)]
    engine = ScriptedEngine(*words, context_length=2 * len(words))
    async with start_platform(engine=engine) as platform:
        pause = platform.engine.pause_after(DELTAS_MOST + 50)
        stalled = await platform.open()
        await platform.engine.wait_stopped()
        pause.resume()
        assert text_of(await collect(await platform.open())) == "".join(words)
        await stalled.aclose()
        await _at_rest(platform)
        assert platform.quota.settled == [len(words), 64]


async def test_an_answer_waits_for_its_charge_no_longer_than_its_timeout() -> None:
    async with start_platform("a", "b", timings=Timings(settle_timeout=0.05)) as platform:
        platform.quota.mute.add("settle")
        batches = await collect(await platform.open())
        assert batches[-1].usage is not None
        platform.quota.mute.clear()
        platform.wires["quota"].cut()
        await _at_rest(platform)
        assert platform.quota.settled == [2]
