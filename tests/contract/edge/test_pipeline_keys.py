"""Keys: cached, taken back within a second, never trusted longer than auth waits (G6)."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from common import key_format
from muhgpt.auth.v1 import auth_pb2
from services.edge.endpoints.errors import to_api_error
from services.edge.peers.errors import Failure
from tests.fakes import FakeClock
from tests.worlds.in_process.pipeline import Reader, ScriptedPlatform, collect, start_platform, streams, text_of, until
from tests.worlds.in_process.scripted_auth import ScriptedAuth

WORDS = [f"w{number} " for number in range(200)]
REVOKED = auth_pb2.KeyChange.KIND_KEY_REVOKED
SUSPENDED = auth_pb2.KeyChange.KIND_ACCOUNT_SUSPENDED
UPDATED = auth_pb2.KeyChange.KIND_ACCOUNT_UPDATED


async def _status(platform: ScriptedPlatform, authorization: str | None) -> tuple[int, str | None]:
    with pytest.raises(Failure) as caught:
        await platform.pipeline.authenticate(authorization)
    return to_api_error(caught.value).status, to_api_error(caught.value).code


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer sk-123", "mghp_x"])
async def test_what_is_no_key_is_a_401_and_auth_is_not_asked(authorization: str | None) -> None:
    async with start_platform() as platform:
        assert await _status(platform, authorization) == (401, "invalid_api_key")
        assert platform.auth.authenticated == 0


async def test_a_mistyped_key_is_refused_by_its_checksum() -> None:
    async with start_platform() as platform:
        mistyped = platform.key[:-1] + ("a" if platform.key[-1] != "a" else "b")
        assert await _status(platform, f"Bearer {mistyped}") == (401, "invalid_api_key")
        assert platform.auth.authenticated == 0


async def test_a_refused_key_is_asked_for_once_a_second_however_often_it_is_tried() -> None:
    clock = FakeClock()
    async with start_platform(clock=clock) as platform:
        platform.auth.drop_key(platform.key)
        for _ in range(100):
            assert await _status(platform, f"Bearer {platform.key}") == (401, "invalid_api_key")
        assert platform.auth.authenticated == 1
        clock.advance(1)
        assert await _status(platform, f"Bearer {platform.key}") == (401, "invalid_api_key")
        assert platform.auth.authenticated == 2


async def test_a_key_that_a_change_makes_good_works_at_once_although_it_was_refused() -> None:
    async with start_platform(clock=FakeClock()) as platform:
        principal = platform.auth.principal(platform.key)
        platform.auth.drop_key(platform.key)
        assert await _status(platform, f"Bearer {platform.key}") == (401, "invalid_api_key")
        platform.auth.restore_key(platform.key, principal)
        await platform.auth.tell(UPDATED, "acct_a")
        await platform.caller()


async def test_a_refusal_that_a_change_overtook_is_not_remembered() -> None:
    async with start_platform(clock=FakeClock()) as platform:
        principal = platform.auth.principal(platform.key)
        platform.auth.drop_key(platform.key)
        platform.auth.gate.clear()
        refused = asyncio.create_task(_status(platform, f"Bearer {platform.key}"))
        await until(lambda: platform.auth.authenticated == 1)
        await platform.auth.tell(UPDATED, "acct_a")
        platform.auth.gate.set()
        assert await refused == (401, "invalid_api_key")
        platform.auth.restore_key(platform.key, principal)
        await platform.caller()


async def test_however_many_unknown_keys_come_few_calls_are_under_way_and_all_are_answered() -> None:
    async with start_platform() as platform:
        unknown = [f"Bearer {key_format.mint(secrets.token_bytes)}" for _ in range(300)]
        platform.auth.gate.clear()
        asking = asyncio.gather(*(_status(platform, each) for each in unknown))
        await until(lambda: platform.auth.authenticated == 32)
        platform.auth.gate.set()
        assert set(await asking) == {(401, "invalid_api_key")}
        assert platform.auth.most_at_once == 32
        assert platform.auth.authenticated == 300


async def test_a_known_key_is_asked_once_also_by_many_at_the_same_time() -> None:
    async with start_platform() as platform:
        platform.auth.gate.clear()
        callers = [asyncio.create_task(platform.caller()) for _ in range(20)]
        await until(lambda: platform.auth.authenticated == 1)
        callers[0].cancel()
        platform.auth.gate.set()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 19
        await platform.caller()
        assert platform.auth.authenticated == 1


async def test_a_database_outage_is_a_503_and_never_a_401() -> None:
    async with start_platform() as platform:
        platform.auth.database_down = True
        assert await _status(platform, f"Bearer {platform.key}") == (503, None)


async def test_a_key_expires_at_its_instant_although_it_is_cached() -> None:
    clock = FakeClock()
    async with start_platform(clock=clock) as platform:
        platform.auth.principal(platform.key).expires_at.FromMicroseconds(clock.now_us() + 2_000_000)
        await platform.caller()
        clock.advance(1.999)
        await platform.caller()
        clock.advance(0.001)
        assert await _status(platform, f"Bearer {platform.key}") == (401, "invalid_api_key")


async def test_a_revoked_key_is_refused_and_its_running_answers_end_before_the_edge_acknowledges() -> None:
    async with start_platform(*WORDS) as platform:
        other = platform.auth.add_key("acct_a", "key_b")
        pause = platform.engine.pause_after(10)
        answer = await platform.open()
        await pause.reached()
        spared = await platform.open(other)
        platform.auth.drop_key(platform.key)
        await platform.auth.tell(REVOKED, "acct_a", "key_a")
        assert platform.pipeline.open_answers == 1
        with pytest.raises(Failure) as caught:
            await collect(answer)
        assert to_api_error(caught.value).code == "key_revoked"
        assert await _status(platform, f"Bearer {platform.key}") == (401, "invalid_api_key")
        pause.resume()
        assert text_of(await collect(spared)) == "".join(WORDS)
        await until(lambda: platform.quota.open_holds == 0)


async def test_a_key_revoked_while_its_request_is_opening_generates_nothing() -> None:
    async with start_platform(*WORDS) as platform:
        await platform.caller()
        platform.quota.mute.add("reserve")
        starting = asyncio.create_task(platform.open())
        await until(lambda: len(platform.quota.reserves) == 1)
        await platform.auth.tell(REVOKED, "acct_a", "key_a")
        with pytest.raises(Failure) as caught:
            await starting
        assert to_api_error(caught.value).code == "key_revoked"
        await until(lambda: platform.quota.released == 1)
        assert platform.engine.tokens_made == 0


async def test_a_key_revoked_while_the_body_was_read_opens_nothing() -> None:
    async with start_platform(*WORDS) as platform:
        caller = await platform.caller()
        platform.auth.drop_key(platform.key)
        await platform.auth.tell(REVOKED, "acct_a", "key_a")
        with pytest.raises(Failure) as caught:
            await platform.open(caller=caller)
        assert to_api_error(caught.value).status == 401
        assert platform.engine.requests == []


async def test_a_change_is_acknowledged_at_once_and_not_with_the_next_heartbeat() -> None:
    async with start_platform(auth=ScriptedAuth(heartbeat_interval=60)) as platform:
        await asyncio.wait_for(platform.auth.tell(REVOKED, "acct_a", "key_a"), 1)


async def test_suspending_an_account_ends_the_answers_of_all_its_keys() -> None:
    async with start_platform(*WORDS) as platform:
        second = platform.auth.add_key("acct_a", "key_b")
        pause = platform.engine.pause_after(10)
        answers = [await platform.open(), await platform.open(second)]
        await platform.auth.tell(SUSPENDED, "acct_a")
        pause.resume()
        for answer in answers:
            with pytest.raises(Failure):
                await collect(answer)


async def test_changed_limits_are_asked_for_anew_and_disturb_no_running_answer() -> None:
    async with start_platform(*WORDS) as platform:
        pause = platform.engine.pause_after(10)
        answer = await platform.open()
        await pause.reached()
        platform.auth.principal(platform.key).requests_per_minute = 7
        await platform.auth.tell(UPDATED, "acct_a")
        assert (await platform.caller()).principal.requests_per_minute == 7
        pause.resume()
        assert text_of(await collect(answer)) == "".join(WORDS)


async def test_an_answer_older_than_an_applied_change_is_asked_again() -> None:
    async with start_platform() as platform:
        await platform.auth.tell(UPDATED, "acct_x")
        platform.auth.as_of = [0]
        await platform.caller()
        assert platform.auth.authenticated == 2


async def test_answers_that_stay_too_old_are_not_believed() -> None:
    async with start_platform() as platform:
        await platform.auth.tell(UPDATED, "acct_x")
        platform.auth.as_of = [0] * 100
        assert await _status(platform, f"Bearer {platform.key}") == (503, None)


async def test_an_edge_that_lost_auth_trusts_its_cache_for_five_seconds_from_its_last_answered_heartbeat() -> None:
    clock = FakeClock()
    async with start_platform(*WORDS, clock=clock) as platform:
        pause = platform.engine.pause_after(10)
        answer = await platform.open(seconds=600)
        await pause.reached()
        platform.wires["auth"].refuse()
        await until(lambda: not any(each.up for each in streams(platform.pipeline, "auth")))
        clock.advance(4.9)
        await platform.caller()
        clock.advance(0.2)
        assert await _status(platform, f"Bearer {platform.key}") == (503, None)
        with pytest.raises(Failure) as caught:
            await collect(answer)
        assert to_api_error(caught.value).status == 503
        platform.wires["auth"].restore()
        await until(lambda: platform.pipeline.ready)
        pause.resume()
        await platform.caller()
        assert platform.auth.authenticated == 2


async def test_a_partition_without_a_reset_ends_trust_too() -> None:
    clock = FakeClock()
    async with start_platform(clock=clock) as platform:
        await platform.caller()
        platform.auth.answer_heartbeats = False
        platform.wires["auth"].silence()
        clock.advance(5.1)
        assert await _status(platform, f"Bearer {platform.key}") == (503, None)


async def test_a_process_that_stood_still_delivers_nothing_when_it_wakes_after_its_trust_has_lapsed() -> None:
    clock = FakeClock()
    async with start_platform(*WORDS, clock=clock) as platform:
        pause = platform.engine.pause_after(10)
        answer = await platform.open(seconds=600)
        await pause.reached()
        platform.auth.answer_heartbeats = False
        platform.wires["auth"].refuse()
        clock.advance(5.1)  # nothing that looks at the clock from time to time has its turn before the answer
        with pytest.raises(Failure) as caught:
            await Reader(answer).next()
        assert to_api_error(caught.value).status == 503
        await platform.engine.wait_stopped()


async def test_heartbeats_that_stay_unanswered_break_the_stream() -> None:
    async with start_platform() as platform:
        platform.auth.answer_heartbeats = False
        await until(lambda: platform.auth.sessions >= 2)


async def test_a_key_revoked_between_two_sessions_ends_its_running_answers_when_the_next_begins() -> None:
    async with start_platform(*WORDS) as platform:
        other = platform.auth.add_key("acct_b", "key_b")
        pause = platform.engine.pause_after(10)
        answer = await platform.open()
        await pause.reached()
        spared = await platform.open(other)
        platform.auth.drop_key(platform.key)
        platform.auth.sequence += 1
        platform.wires["auth"].cut()
        with pytest.raises(Failure) as caught:
            async with asyncio.timeout(2):
                await collect(answer)
        assert to_api_error(caught.value).code == "key_revoked"
        pause.resume()
        assert text_of(await collect(spared)) == "".join(WORDS)


async def test_a_session_is_resumed_with_what_was_learnt_and_asks_for_nothing_again() -> None:
    auth = ScriptedAuth()
    auth.cache_mark = "defaults"
    async with start_platform(auth=auth) as platform:
        await platform.caller()
        platform.wires["auth"].cut()
        await until(lambda: len(auth.hellos) == 2)
        assert auth.hellos[1].last_session_id == auth.hellos[0].session_id
        assert auth.hellos[1].last_sequence == 0
        await until(lambda: platform.pipeline.ready)
        await platform.caller()
        assert auth.authenticated == 1


async def test_a_welcome_that_comes_after_trust_has_lapsed_resumes_nothing() -> None:
    """auth may have given the old session up by then, and told an operator that a key is served nowhere any more."""
    auth, clock = ScriptedAuth(), FakeClock()
    auth.cache_mark = "defaults"
    async with start_platform(auth=auth, clock=clock) as platform:
        await platform.caller()
        auth.welcome_gate.clear()
        platform.wires["auth"].cut()
        await until(lambda: len(auth.hellos) == 2)
        assert auth.hellos[1].HasField("last_sequence")
        clock.advance(5.1)
        auth.drop_key(platform.key)
        auth.welcome_gate.set()
        async with asyncio.timeout(5):
            while (status := await _status(platform, f"Bearer {platform.key}")) == (503, None):  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # until the new session is welcomed
        assert status == (401, "invalid_api_key")


async def test_a_resumed_session_is_trusted_no_longer_than_the_one_before_until_its_heartbeat_is_answered() -> None:
    auth, clock = ScriptedAuth(heartbeat_interval=60), FakeClock()
    auth.cache_mark = "defaults"
    async with start_platform(auth=auth, clock=clock) as platform:
        await platform.caller()
        clock.advance(3)
        auth.answer_heartbeats = False
        platform.wires["auth"].cut()
        await until(lambda: len(auth.hellos) == 2 and auth.heartbeats == 1)
        clock.advance(2.1)
        assert await _status(platform, f"Bearer {platform.key}") == (503, None)


async def test_an_auth_with_other_defaults_is_asked_for_every_key_again() -> None:
    auth = ScriptedAuth()
    auth.cache_mark = "defaults"
    async with start_platform(auth=auth) as platform:
        await platform.caller()
        auth.cache_mark = "others"
        platform.wires["auth"].cut()
        await until(lambda: len(auth.hellos) == 2)
        beaten = auth.heartbeats
        await until(lambda: auth.heartbeats > beaten)
        await platform.caller()
        assert auth.authenticated == 2


async def test_a_peer_that_is_away_is_a_line_or_two_and_one_when_it_is_back() -> None:
    async with start_platform() as platform:
        before = breaks("auth")
        with capture_logs() as lines:
            platform.wires["auth"].refuse()
            await until(lambda: breaks("auth") >= before + 6)
            platform.wires["auth"].restore()
            await until(lambda: ("stream_restored", "auth") in [(line["event"], line.get("peer")) for line in lines])
        assert 1 <= [(line["event"], line.get("peer")) for line in lines].count(("stream_broken", "auth")) <= 2


def breaks(peer: str) -> float:
    return REGISTRY.get_sample_value("muhgpt_edge_stream_breaks_total", {"peer": peer}) or 0.0


async def test_models_are_those_of_the_allow_list_and_others_are_named_rightly() -> None:
    async with start_platform() as platform:
        key = platform.auth.add_key("acct_b", "key_b", allowed_models=["gpt-4o"])
        caller = await platform.caller(key)
        assert [model.alias for model in platform.pipeline.models(caller)] == ["gpt-4o"]
        for alias, status in (("muh-chat", 403), ("nothing", 404)):
            with pytest.raises(Failure) as caught:
                platform.pipeline.resolve(caller, alias)
            assert to_api_error(caught.value).status == status
        assert platform.pipeline.resolve(caller, "gpt-4o").model == "muh-chat"
        assert len(platform.pipeline.models(await platform.caller())) == 4


async def test_an_edge_that_stops_says_goodbye_so_that_no_revocation_waits_for_it() -> None:
    async with start_platform() as platform:
        await platform.pipeline.close()
        assert platform.auth.goodbyes == 1
