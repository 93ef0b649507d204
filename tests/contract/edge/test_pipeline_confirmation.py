"""Charges of whole answers are confirmed once they were written; streams report their first tokens (G3)."""

from __future__ import annotations

import asyncio

import pytest

from muhgpt.quota.v1 import quota_pb2
from services.edge.endpoints.errors import to_api_error
from services.edge.http.errors import ApiError
from services.edge.peers.errors import Failure
from services.edge.peers.timings import Timings
from services.edge.serving.answer import Answer, Batch
from tests.fakes_engine import ScriptedEngine
from tests.worlds.in_process.pipeline import (
    Collected,
    Reader,
    ScriptedPlatform,
    collect,
    start_platform,
    streams,
    until,
)
from tests.worlds.in_process.scripted_quota import ScriptedQuota, refused

NEW = ("confirm", "prompt_slide")


def new_quota(balance: int = 1_000_000) -> ScriptedQuota:
    return ScriptedQuota(balance, features=NEW)


async def last_batch(answer: Answer) -> Batch:
    return (await collect(answer))[-1]


def written(batch: Batch) -> None:
    """What HTTP does when the last byte has left."""
    assert batch.written is not None
    batch.written()


async def test_a_whole_answer_is_charged_unconfirmed_and_confirmed_when_it_was_written() -> None:
    async with start_platform("a", "b", quota=new_quota()) as platform:
        answer = await platform.open(streamed=False)
        batch = await last_batch(answer)
        await answer.aclose()
        assert platform.quota.settled == [2]
        assert platform.quota.unconfirmed == 1
        assert "confirm" not in platform.quota.operations
        written(batch)
        written(batch)
        await until(lambda: platform.quota.unconfirmed == 0)
        await at_rest(platform)
        assert platform.quota.operations.count("confirm") == 1


async def test_an_answer_that_is_cut_for_money_is_confirmed_like_any_other() -> None:
    async with start_platform(*"abcdefgh", quota=new_quota(5 + 3)) as platform:
        batch = await last_batch(await platform.open(streamed=False))
        assert platform.quota.unconfirmed == 1
        written(batch)
        await until(lambda: platform.quota.unconfirmed == 0)


async def test_a_stream_is_never_unconfirmed() -> None:
    async with start_platform("a", "b", quota=new_quota()) as platform:
        assert (await last_batch(await platform.open())).written is None
        assert [each.unconfirmed for each in platform.quota.settles] == [False]


async def test_a_stream_is_charged_only_after_its_last_tokens_were_written() -> None:
    async with start_platform("a", "b", quota=new_quota()) as platform:
        pause = platform.engine.pause_after(2)
        answer = await platform.open()
        await pause.reached()
        pause.resume()
        await until(lambda: all(each.load == 0 for each in streams(platform.pipeline, "inference")))  # all has come
        await asyncio.sleep(0.05)
        assert platform.quota.settled == []
        settled: list[list[int]] = []
        await answer.deliver(Collected(lambda deltas: settled.append(list(platform.quota.settled))))
        assert settled == [[]]
        assert platform.quota.settled == [2]


async def test_a_quota_of_the_version_before_is_sent_nothing_that_it_does_not_know() -> None:
    engine = ScriptedEngine("a", "b", final_prompt_tokens=9)
    async with start_platform(engine=engine) as platform:
        written(await last_batch(await platform.open(streamed=False)))
        await at_rest(platform)
        assert platform.quota.operations == ["reserve", "settle"]
        assert [each.unconfirmed for each in platform.quota.settles] == [False]


async def test_a_client_that_leaves_while_its_whole_answer_is_charged_pays_for_it() -> None:
    """Nothing that a client does makes an answer free (G4)."""
    async with start_platform("a", "b", quota=new_quota()) as platform:
        platform.quota.mute.add("settle")
        answer = await platform.open(streamed=False)
        reader = asyncio.create_task(collect(answer))
        await until(lambda: bool(platform.quota.settled))
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await answer.aclose()
        platform.quota.mute.clear()
        platform.wires["quota"].cut()
        await until(lambda: platform.quota.unconfirmed == 0)
        assert platform.quota.settled == [2]


async def test_a_client_that_leaves_before_its_whole_answer_is_ready_pays_what_was_generated() -> None:
    async with start_platform("a", "b", "c", quota=new_quota()) as platform:
        pause = platform.engine.pause_after(2)
        answer = await platform.open(streamed=False)
        await pause.reached()
        await answer.aclose()
        await until(lambda: platform.quota.settled == [2])
        assert platform.quota.unconfirmed == 0


async def test_a_settlement_that_is_replayed_after_the_write_confirms() -> None:
    async with start_platform("a", "b", quota=new_quota()) as platform:
        platform.quota.mute.add("settle")
        ending = asyncio.create_task(last_batch(await platform.open(streamed=False)))
        await until(lambda: platform.quota.unconfirmed == 1)
        written(await ending)  # the answer ends without waiting for ever
        platform.quota.mute.clear()
        platform.wires["quota"].cut()
        await until(lambda: platform.quota.unconfirmed == 0)
        assert platform.quota.settled == [2]
        await at_rest(platform)


@pytest.mark.parametrize("broken", [True, False])
async def test_a_confirmation_that_stays_unanswered_is_repeated(broken: bool) -> None:
    async with start_platform("a", "b", quota=new_quota(), timings=Timings(overdue_after=0.01)) as platform:
        platform.quota.mute.add("confirm")
        written(await last_batch(await platform.open(streamed=False)))
        await until(lambda: "confirm" in platform.quota.operations)
        platform.quota.mute.clear()
        if broken:
            platform.wires["quota"].cut()
        await at_rest(platform)
        assert platform.quota.operations.count("confirm") >= 2
        assert len(set(platform.quota.sessions)) == 1


async def test_a_confirmation_that_the_database_did_not_answer_is_asked_again() -> None:
    async with start_platform("a", "b", quota=new_quota()) as platform:
        batch = await last_batch(await platform.open(streamed=False))
        platform.quota.refusals = [refused(quota_pb2.Refused.REASON_UNAVAILABLE)] * 3
        written(batch)
        await until(lambda: platform.quota.unconfirmed == 0)
        await at_rest(platform)


async def test_an_edge_that_drains_waits_for_the_writing_and_confirms_before_it_leaves() -> None:
    async with start_platform("a", "b", quota=new_quota()) as platform:
        batch = await last_batch(await platform.open(streamed=False))
        draining = asyncio.create_task(platform.pipeline.drain(10))
        await asyncio.sleep(0.05)
        assert not draining.done()
        written(batch)
        await asyncio.wait_for(draining, 5)
        assert platform.quota.unconfirmed == 0


async def test_a_streams_first_tokens_are_reported_a_moment_after_they_came() -> None:
    async with start_platform(*"abcdefgh", quota=new_quota()) as platform:
        pause = platform.engine.pause_after(3)
        reading = asyncio.create_task(collect(await platform.open()))
        await pause.reached()
        await until(lambda: bool(platform.quota.progress))
        first = platform.quota.progress[0]
        assert (first.delivered_tokens, first.generated_tokens) == (3, 0)
        pause.resume()
        await reading
        assert len(platform.quota.progress) == 1


async def test_one_timer_reports_for_all_streams_and_only_what_was_written() -> None:
    async with start_platform(*"abcdefgh", quota=new_quota()) as platform:
        pauses = []
        answers = []
        for _ in range(3):
            pauses.append(platform.engine.pause_after(2))
            answers.append(await platform.open())
            await pauses[-1].reached()
        unread, *read = answers
        not_reading = asyncio.create_task(unread.deliver(Reader(unread)))
        readers = [asyncio.create_task(collect(each)) for each in read]
        await until(lambda: len(platform.quota.progress) == 2)
        assert {each.delivered_tokens for each in platform.quota.progress} == {2}
        for pause in pauses:
            pause.resume()
        await asyncio.gather(*readers)
        not_reading.cancel()
        await unread.aclose()


async def test_a_whole_answer_reports_nothing_as_delivered() -> None:
    async with start_platform(*[f"w{number} " for number in range(100)], quota=new_quota()) as platform:
        await collect(await platform.open(streamed=False))
        assert platform.quota.progress
        assert {each.delivered_tokens for each in platform.quota.progress} == {0}


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_prompt_that_the_engine_counts_higher_is_held_before_the_charge(streamed: bool) -> None:
    engine = ScriptedEngine("a", "b", prompt_tokens=5, final_prompt_tokens=9, estimated=(True, False))
    async with start_platform(engine=engine, quota=new_quota()) as platform:
        batch = await last_batch(await platform.open(streamed=streamed))
        assert batch.usage is not None
        assert (batch.usage.prompt_tokens, batch.usage.completion_tokens) == (9, 2)
        assert [each.prompt_tokens for each in platform.quota.progress] == [9]
        assert platform.quota.operations[-2:] == ["progress", "settle"]
        assert platform.quota.balance == 1_000_000 - 9 - 2
        assert platform.quota.reserves[0].estimated
        assert [each.estimated for each in platform.quota.settles] == [False]


async def test_a_prompt_that_counts_higher_than_what_is_free_takes_no_more_than_there_is() -> None:
    engine = ScriptedEngine("a", "b", prompt_tokens=5, final_prompt_tokens=500)
    async with start_platform(engine=engine, quota=new_quota(20)) as platform:
        await last_batch(await platform.open())
        assert platform.quota.balance >= 0


async def test_a_prompt_that_the_engine_counts_lower_costs_less() -> None:
    engine = ScriptedEngine("a", "b", prompt_tokens=50, final_prompt_tokens=9, estimated=(False, True))
    async with start_platform(engine=engine, quota=new_quota()) as platform:
        await last_batch(await platform.open())
        assert platform.quota.balance == 1_000_000 - 9 - 2
        assert [each.estimated for each in platform.quota.settles] == [True]


async def test_a_client_that_leaves_before_the_first_token_is_told_to_quota_as_such() -> None:
    async with start_platform("a", "b", quota=new_quota()) as platform:
        pause = platform.engine.pause_after(0)
        opening = asyncio.create_task(platform.open())
        await pause.reached()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await until(lambda: platform.quota.released == 1)
        assert [each.abandoned for each in platform.quota.releases] == [True]


async def test_an_engine_that_fails_before_the_first_token_is_no_fault_of_the_client() -> None:
    async with start_platform("a", "b", quota=new_quota()) as platform:
        platform.engine.fail_after(0)
        await failure(platform)
        await until(lambda: platform.quota.released == 1)
        assert [each.abandoned for each in platform.quota.releases] == [False]


async def test_an_account_whose_losses_are_too_high_is_a_429_with_the_time_to_wait() -> None:
    async with start_platform("a", "b", quota=new_quota()) as platform:
        platform.quota.refusals = [refused(quota_pb2.Refused.REASON_LOSSES_TOO_HIGH, retry_after=3600)]
        error = await failure(platform)
        assert (error.status, error.code, error.headers["retry-after"]) == (429, "refused_too_often", "3600")
        assert platform.engine.tokens_made == 0


async def at_rest(platform: ScriptedPlatform) -> None:
    """Quota has acknowledged everything: an edge that drains waits for nothing."""
    await asyncio.wait_for(platform.pipeline.drain(30), 5)


async def failure(platform: ScriptedPlatform) -> ApiError:
    with pytest.raises(Failure) as caught:
        await platform.open()
    return to_api_error(caught.value)
