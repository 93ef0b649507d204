"""Refusals that the edge remembers, and the bound on open answers (G5, docs/money.md)."""

from __future__ import annotations

import asyncio

import pytest

from muhgpt.quota.v1 import quota_pb2
from services.edge.endpoints.errors import to_api_error
from services.edge.http.errors import ApiError
from services.edge.peers.errors import Failure
from tests.fakes import FakeClock
from tests.worlds.in_process.pipeline import ScriptedPlatform, collect, start_platform, text_of, until
from tests.worlds.in_process.scripted_quota import ScriptedQuota, refused

RATE_LIMITED = quota_pb2.Refused.REASON_RATE_LIMITED


async def _refusal(platform: ScriptedPlatform, key: str | None = None) -> ApiError:
    with pytest.raises(Failure) as caught:
        await platform.open(key)
    return to_api_error(caught.value)


async def test_a_full_window_is_remembered_until_the_moment_that_quota_told_and_not_longer() -> None:
    clock = FakeClock()
    async with start_platform("a", clock=clock) as platform:
        platform.quota.refusals = [refused(RATE_LIMITED, retry_after=3.0)]
        first = await _refusal(platform)
        assert (first.status, first.headers["retry-after"]) == (429, "3")
        clock.advance(1.5)
        again = await _refusal(platform)
        assert (again.status, again.headers["retry-after-ms"]) == (429, "1500")
        assert len(platform.engine.requests) == 1
        clock.advance(1.5)
        assert text_of(await collect(await platform.open())) == "a"


async def test_a_full_window_of_a_key_leaves_the_accounts_other_keys_alone() -> None:
    async with start_platform("a") as platform:
        limited = platform.auth.add_key("acct_a", "key_b", key_requests_per_minute=5)
        platform.quota.refusals = [refused(RATE_LIMITED, retry_after=30.0, limit=5)]
        assert (await _refusal(platform, limited)).status == 429
        assert (await _refusal(platform, limited)).status == 429
        assert text_of(await collect(await platform.open())) == "a"


async def test_a_refusal_that_names_the_account_holds_for_all_its_keys_also_when_the_keys_limit_is_the_same() -> None:
    async with start_platform("a") as platform:
        other = platform.auth.add_key("acct_a", "key_b", key_requests_per_minute=60)
        platform.quota.refusals = [
            refused(RATE_LIMITED, retry_after=30.0, limit=60, of=quota_pb2.Refused.LIMIT_ACCOUNT)
        ]
        assert "of this API key" not in (await _refusal(platform, other)).message
        assert (await _refusal(platform)).status == 429
        assert len(platform.engine.requests) == 1


async def test_a_key_whose_own_window_is_full_is_told_so_also_by_the_edges_memory() -> None:
    async with start_platform("a") as platform:
        limited = platform.auth.add_key("acct_a", "key_b", key_requests_per_minute=60)
        platform.quota.refusals = [refused(RATE_LIMITED, retry_after=30.0, limit=60, of=quota_pb2.Refused.LIMIT_KEY)]
        for _ in range(2):
            assert (await _refusal(platform, limited)).message.startswith("Rate limit of this API key reached (60 ")
        assert len(platform.engine.requests) == 1
        assert text_of(await collect(await platform.open())) == "a"


async def test_a_raised_limit_forgets_the_remembered_refusal() -> None:
    async with start_platform("a") as platform:
        platform.quota.refusals = [refused(RATE_LIMITED, retry_after=30.0)]
        assert (await _refusal(platform)).status == 429
        platform.auth.principal(platform.key).account_version = 2
        await platform.auth.tell(3, "acct_a")
        assert text_of(await collect(await platform.open())) == "a"


async def test_a_broke_account_that_keeps_asking_is_answered_by_the_edge_until_the_minute_is_over() -> None:
    clock = FakeClock()
    async with start_platform("a", clock=clock, quota=ScriptedQuota(balance=0)) as platform:
        platform.auth.principal(platform.key).requests_per_minute = 2
        assert [(await _refusal(platform)).status for _ in range(20)] == [402] * 20
        assert (await _refusal(platform)).status == 429
        assert len(platform.engine.requests) == 20
        clock.advance(60)
        await until(lambda: platform.pipeline.serving)  # the sessions have outlived the jump
        assert (await _refusal(platform)).status == 402


async def test_an_account_has_a_bound_of_answers_open_and_an_ended_one_makes_room() -> None:
    async with start_platform("a", "b") as platform:
        platform.auth.principal(platform.key).max_open_streams = 2
        pause = platform.engine.pause_after(1)
        first, _second = await platform.open(), await platform.open()
        refusal = await _refusal(platform)
        assert (refusal.status, refusal.code) == (429, "too_many_streams")
        assert len(platform.quota.reserves) == 2
        pause.resume()
        await collect(first)
        await (await platform.open()).aclose()
        await until(lambda: platform.pipeline.open_answers == 1)


async def test_an_edge_with_as_many_holds_as_it_may_have_says_so_and_not_that_credits_cannot_be_checked() -> None:
    async with start_platform("a", max_unfinished_holds=3) as platform:
        platform.engine.gate = gate = asyncio.Semaphore(0)
        opening = [asyncio.create_task(platform.open()) for _ in range(3)]
        await until(lambda: len(platform.engine.started) == 3)
        refusal = await _refusal(platform)
        assert (refusal.status, refusal.code) == (503, "engine_overloaded")
        assert "redits" not in refusal.message
        assert "retry-after" in refusal.headers
        for _ in opening:
            gate.release()
        for task in opening:
            assert text_of(await collect(await task)) == "a"
        gate.release()
        assert text_of(await collect(await platform.open())) == "a"


async def test_an_inference_with_as_many_generations_as_it_may_have_is_overloaded() -> None:
    async with start_platform("a", max_generations=2) as platform:
        platform.engine.gate = gate = asyncio.Semaphore(0)
        opening = [asyncio.create_task(platform.open()) for _ in range(2)]
        await until(lambda: len(platform.engine.started) == 2)
        refusal = await _refusal(platform)
        assert (refusal.status, refusal.code) == (503, "engine_overloaded")
        for _ in opening:
            gate.release()
        for task in opening:
            assert text_of(await collect(await task)) == "a"
