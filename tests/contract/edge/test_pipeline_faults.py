"""Peers that die, stall, or come back (G3, G7)."""

from __future__ import annotations

import asyncio
import time

import pytest

from muhgpt.quota.v1 import quota_pb2
from services.edge.endpoints.errors import to_api_error
from services.edge.http.errors import ApiError
from services.edge.peers.errors import Failure
from services.edge.peers.timings import Timings
from services.edge.serving.answer import Answer, Delta
from tests.fakes import FakeClock
from tests.fakes_engine import ScriptedEngine
from tests.worlds.in_process.pipeline import (
    Collected,
    Reader,
    ScriptedPlatform,
    collect,
    start_platform,
    streams,
    text_of,
    until,
)
from tests.worlds.in_process.scripted_auth import ScriptedAuth
from tests.worlds.in_process.scripted_quota import ScriptedQuota, refused

WORDS = [f"w{number} " for number in range(200)]
REFUSED = quota_pb2.Refused


async def _refusal(platform: ScriptedPlatform) -> ApiError:
    with pytest.raises(Failure) as caught:
        await platform.open()
    return to_api_error(caught.value)


async def _until_failure(answer: Answer) -> tuple[str, ApiError]:
    sink = Collected()
    try:
        await answer.deliver(sink)
    except Failure as error:
        return text_of(sink.batches), to_api_error(error)
    raise AssertionError("the answer did not fail")


async def test_without_quota_a_request_is_a_503_within_two_seconds_and_nothing_is_generated() -> None:
    async with start_platform(*WORDS) as platform:
        platform.wires["quota"].refuse()
        started = time.monotonic()
        assert (await _refusal(platform)).status == 503
        assert time.monotonic() - started < 2.5
        assert platform.engine.tokens_made == 0


async def test_once_quota_is_known_to_be_down_requests_fail_at_once() -> None:
    async with start_platform(*WORDS, timings=Timings(down_timeout=0.05, reserve_timeout=60)) as platform:
        await platform.caller()
        await until(lambda: platform.pipeline.ready)
        platform.wires["quota"].refuse()
        await until(lambda: not platform.pipeline.serving)
        assert platform.pipeline.ready, "an edge that served once answers its own 503"
        started = time.monotonic()
        assert (await _refusal(platform)).status == 503
        assert time.monotonic() - started < 10, "it waited for quota"
        assert platform.engine.requests == []
        platform.wires["quota"].restore()
        await until(lambda: platform.pipeline.serving)
        assert text_of(await collect(await platform.open())) == "".join(WORDS)


async def test_a_reservation_that_was_given_up_can_not_come_to_life_later() -> None:
    async with start_platform(*WORDS, timings=Timings(reserve_timeout=0.05)) as platform:
        await platform.caller()
        platform.wires["quota"].silence()
        assert (await _refusal(platform)).status == 503
        platform.wires["quota"].restore()
        await until(lambda: platform.quota.released == 1)
        assert platform.quota.open_holds == 0
        assert platform.engine.tokens_made == 0


async def test_a_reservation_whose_answer_was_lost_is_replayed_and_admits_once() -> None:
    async with start_platform("a", "b") as platform:
        await platform.caller()
        platform.quota.mute.add("reserve")
        starting = asyncio.create_task(platform.open())
        await until(lambda: len(platform.quota.reserves) == 1)
        platform.quota.mute.clear()
        platform.wires["quota"].cut()
        assert text_of(await collect(await starting)) == "ab"
        assert len(platform.quota.reserves) == 1
        assert platform.quota.operations.count("reserve") == 2


async def test_quota_that_dies_midway_and_comes_back_gets_the_charge_once() -> None:
    async with start_platform(*WORDS) as platform:
        pause = platform.engine.pause_after(20)
        answer = await platform.open()
        await pause.reached()
        platform.wires["quota"].refuse()
        pause.resume()
        ending = asyncio.create_task(collect(answer))
        await until(lambda: platform.engine.tokens_made == 200)
        platform.wires["quota"].restore()
        assert text_of(await ending) == "".join(WORDS)
        assert platform.quota.settled == [200]
        assert len(set(platform.quota.sessions)) == 1


async def test_while_quota_is_away_nothing_is_delivered_that_is_not_covered() -> None:
    async with start_platform(*WORDS) as platform:
        pause = platform.engine.pause_after(1)
        answer = await platform.open()
        await pause.reached()
        platform.wires["quota"].refuse()
        pause.resume()
        await until(lambda: platform.engine.tokens_made == 200)
        delivered, reader = 0, Reader(answer)
        while delivered < 64:
            delivered += len((await reader.next()).deltas)
        assert delivered == 64
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.next(), 0.05)
        await answer.aclose()
        platform.wires["quota"].restore()
        await until(lambda: platform.quota.settled == [64])


async def test_a_settlement_whose_answer_was_lost_is_replayed_and_charges_once() -> None:
    async with start_platform("a", "b") as platform:
        platform.quota.mute.add("settle")
        ending = asyncio.create_task(collect(await platform.open()))
        await until(lambda: bool(platform.quota.settled))
        platform.quota.mute.clear()
        platform.wires["quota"].cut()
        assert (await ending)[-1].usage is not None
        assert platform.quota.settled == [2]


async def test_a_settlement_that_stays_unanswered_is_repeated_on_the_same_stream() -> None:
    async with start_platform("a", "b", timings=Timings(overdue_after=0.01)) as platform:
        platform.quota.mute.add("settle")
        ending = asyncio.create_task(collect(await platform.open()))
        await until(lambda: bool(platform.quota.settled))
        platform.quota.mute.clear()
        await ending
        assert platform.quota.settled == [2]
        assert len(platform.quota.sessions) == 1


async def test_operations_that_the_database_did_not_answer_are_repeated_until_it_does() -> None:
    async with start_platform(*WORDS) as platform:
        unknown = refused(REFUSED.REASON_UNAVAILABLE)
        platform.quota.refusals = [unknown, unknown]
        pause = platform.engine.pause_after(200)
        answer = await platform.open()
        await pause.reached()
        platform.quota.refusals = [unknown, unknown]
        pause.resume()
        assert text_of(await collect(answer)) == "".join(WORDS)
        assert platform.quota.settled == [200]


async def test_a_draining_quota_is_left_and_found_again_without_losing_a_charge() -> None:
    async with start_platform(*WORDS) as platform:
        pause = platform.engine.pause_after(20)
        answer = await platform.open()
        await pause.reached()
        platform.quota.drain()
        await until(lambda: len(platform.quota.sessions) == 2)
        pause.resume()
        assert text_of(await collect(answer)) == "".join(WORDS)
        assert platform.quota.settled == [200]


async def test_a_model_without_a_price_is_not_generated() -> None:
    async with start_platform(*WORDS) as platform:
        platform.quota.refusals = [refused(REFUSED.REASON_NO_PRICE)]
        assert (await _refusal(platform)).status == 503
        assert platform.engine.tokens_made == 0


async def test_a_hold_that_quota_has_ended_ends_its_answer() -> None:
    async with start_platform(*WORDS) as platform:
        pause = platform.engine.pause_after(5)
        answer = await platform.open()
        await pause.reached()
        # Whatever is asked of it from now on, and again when the stream breaks meanwhile.
        platform.quota.refusals = [REFUSED(reason=REFUSED.REASON_HOLD_ENDED)] * 9
        pause.resume()
        with pytest.raises(Failure) as caught:
            await collect(answer)
        assert to_api_error(caught.value).status == 503


async def test_answers_end_before_the_lease_of_their_session_lapses() -> None:
    clock = FakeClock()
    auth, quota = ScriptedAuth(session_ttl=600), ScriptedQuota(lease=30.0)
    async with start_platform(*WORDS, clock=clock, auth=auth, quota=quota) as platform:
        pause = platform.engine.pause_after(5)
        answer = await platform.open(seconds=600)
        await pause.reached()
        platform.quota.answer_heartbeats = False
        platform.wires["quota"].refuse()
        clock.advance(28.9)
        reader = Reader(answer)
        assert (await reader.next()).deltas
        clock.advance(0.2)
        with pytest.raises(Failure) as caught:
            await reader.next()
        assert to_api_error(caught.value).status == 503
        await asyncio.wait_for(platform.engine.wait_stopped(), 1)


async def test_an_engine_that_dies_before_the_first_token_is_a_502_and_costs_nothing() -> None:
    async with start_platform(*WORDS) as platform:
        platform.engine.fail_after(0)
        assert (await _refusal(platform)).status == 502
        await until(lambda: platform.quota.released == 1)
        assert platform.quota.settled == []


async def test_an_engine_that_dies_midway_ends_in_an_error_and_what_was_delivered_is_charged() -> None:
    async with start_platform(*WORDS) as platform:
        platform.engine.fail_after(10)
        received, failure = await _until_failure(await platform.open())
        assert failure.status == 502
        assert received == "".join(WORDS[:10])
        await until(lambda: platform.quota.settled == [10])


async def test_an_engine_that_dies_before_a_whole_answer_could_be_sent_costs_nothing() -> None:
    async with start_platform(*WORDS) as platform:
        platform.engine.fail_after(100)
        _, failure = await _until_failure(await platform.open(streamed=False))
        assert failure.status == 502
        await until(lambda: platform.quota.released == 1)
        assert platform.quota.settled == []
        assert all(each.delivered_tokens == 0 for each in platform.quota.progress)


async def test_what_is_told_as_delivered_was_written_before() -> None:
    async with start_platform(*WORDS) as platform:
        written, early = 0, []

        def count(deltas: list[Delta]) -> None:
            nonlocal written
            reported = max((each.delivered_tokens for each in platform.quota.progress), default=0)
            early.append(reported > written)
            written += len(deltas)

        await (await platform.open()).deliver(Collected(count))
        assert platform.quota.progress
        assert not any(early)


async def test_an_inference_stream_that_breaks_midway_ends_its_answers_with_a_502() -> None:
    async with start_platform(*WORDS) as platform:
        pause = platform.engine.pause_after(10)
        sink = Collected()
        delivering = asyncio.create_task((await platform.open()).deliver(sink))
        await until(lambda: sink.deltas == 10)
        platform.wires["inference"].cut()
        with pytest.raises(Failure) as caught:
            await delivering
        assert to_api_error(caught.value).status == 502
        await until(lambda: platform.quota.settled == [10])
        pause.resume()


async def test_a_stream_that_breaks_before_the_start_costs_the_request_nothing_but_time() -> None:
    async with start_platform("a", "b") as platform:
        await platform.caller()
        platform.quota.mute.add("reserve")
        starting = asyncio.create_task(platform.open())
        await until(lambda: len(platform.quota.reserves) == 1)
        platform.wires["inference"].cut()
        await until(lambda: not any(each.up for each in streams(platform.pipeline, "inference")))
        platform.quota.mute.clear()
        platform.wires["quota"].cut()
        assert text_of(await collect(await starting)) == "ab"
        assert len(platform.engine.requests) == 2
        assert len(platform.quota.reserves) == 1


async def test_a_draining_inference_finishes_what_runs_and_gets_nothing_new() -> None:
    async with start_platform(*WORDS, timings=Timings(reopen_timeout=0.05)) as platform:
        pause = platform.engine.pause_after(10)
        answer = await platform.open()
        await pause.reached()
        platform.inference.server.draining.set()
        await until(lambda: not platform.pipeline.serving)
        assert (await _refusal(platform)).status == 502
        pause.resume()
        assert text_of(await collect(answer)) == "".join(WORDS)
        assert len(platform.engine.requests) == 1


async def test_without_inference_a_request_is_a_502_and_reserves_nothing() -> None:
    async with start_platform(*WORDS, timings=Timings(reopen_timeout=0.05)) as platform:
        platform.wires["inference"].refuse()
        await until(lambda: not platform.pipeline.serving)
        assert (await _refusal(platform)).status == 502
        assert platform.quota.reserves == []


async def test_a_request_whose_time_is_over_ends_before_and_after_its_first_token() -> None:
    async with start_platform(engine=ScriptedEngine(*WORDS, slots=1)) as platform:
        pause = platform.engine.pause_after(3)
        answer = await platform.open(seconds=0.6)
        with pytest.raises(Failure) as caught:
            await platform.open(seconds=0.05)
        assert (to_api_error(caught.value).status, to_api_error(caught.value).code) == (503, "deadline_exceeded")
        with pytest.raises(Failure) as caught:
            await collect(answer)
        assert to_api_error(caught.value).code == "deadline_exceeded"
        pause.resume()
        await until(lambda: platform.quota.open_holds == 0)
        assert platform.quota.settled == [3]
