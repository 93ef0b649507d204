"""WatchKeys and the promise of G6: revoking returns when no edge can serve the key any more, and not before."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

import grpc
import pytest

from muhgpt.auth.v1 import auth_pb2
from servicekit.clock import SystemClock
from servicekit.rpc.status import RpcFailure
from tests.fakes import FakeClock
from tests.worlds.in_process.auth import FAKE_TTL, Auth, Edge, running_auth

MOMENT = 0.08  # seconds in which something that must not happen would have happened


async def still_waiting(task: asyncio.Task[Any]) -> bool:
    await asyncio.wait([task], timeout=MOMENT)
    return not task.done()


async def test_a_stream_is_welcomed_with_its_times_and_the_sequence_it_starts_at(auth: Auth) -> None:
    key = await auth.key(await auth.account())
    await auth.revoking(key.key.key_id)
    edge = Edge(auth.edge_peer)
    await edge.hello(secrets.token_bytes(16))
    welcome = await edge.read("welcome")
    assert welcome.sequence == 1
    assert welcome.session_ttl.ToMilliseconds() == FAKE_TTL * 1000
    assert welcome.heartbeat_interval.ToMilliseconds() * 3 <= FAKE_TTL * 1000
    await edge.leave()


async def test_heartbeats_are_answered_by_number(auth: Auth) -> None:
    edge = await Edge.open(auth.edge_peer)
    for number in (1, 2, 3):
        await edge.beat_answered(number)
    await edge.leave()


@pytest.mark.parametrize("session_id", [b"", b"x" * 15, b"x" * 17])
async def test_a_hello_without_a_proper_session_id_is_refused(auth: Auth, session_id: bytes) -> None:
    edge = Edge(auth.edge_peer)
    await edge.hello(session_id)
    assert await edge.failure() == (grpc.StatusCode.INVALID_ARGUMENT, "HELLO_EXPECTED")


async def test_a_stream_must_begin_with_hello_and_say_it_once(auth: Auth) -> None:
    silent, wrong, repeated = Edge(auth.edge_peer), Edge(auth.edge_peer), await Edge.open(auth.edge_peer)
    await silent.call.done_writing()
    await wrong.beat(1)
    await repeated.hello(secrets.token_bytes(16))
    for edge in (silent, wrong, repeated):
        assert await edge.failure() == (grpc.StatusCode.INVALID_ARGUMENT, "HELLO_EXPECTED")


async def test_a_session_id_serves_once(auth: Auth) -> None:
    session_id = secrets.token_bytes(16)
    first, second = await Edge.open(auth.edge_peer, session_id), Edge(auth.edge_peer)
    await second.hello(session_id)
    assert await second.failure() == (grpc.StatusCode.INVALID_ARGUMENT, "HELLO_EXPECTED")
    await first.beat_answered(1)
    await first.leave()


async def test_only_edges_may_watch(auth: Auth) -> None:
    edge = Edge(auth.operator_peer)
    assert await edge.failure() == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")


async def test_each_kind_of_change_arrives_in_order(auth: Auth) -> None:
    account = await auth.account()
    key = await auth.key(account)
    edge = await Edge.open(auth.edge_peer)
    named = {"account_id": account.account_id}
    await auth.operator.UpdateAccount(auth_pb2.UpdateAccountRequest(requests_per_minute=9, **named))
    suspending = asyncio.create_task(auth.operator.SuspendAccount(auth_pb2.SuspendAccountRequest(**named)))
    changes = [await edge.read("change") for _ in range(2)]
    await edge.ack(2)
    await suspending
    await auth.operator.ResumeAccount(auth_pb2.ResumeAccountRequest(**named))
    revoking = auth.revoking(key.key.key_id)
    changes += [await edge.read("change") for _ in range(2)]
    await edge.ack(4)
    await revoking
    kinds = auth_pb2.KeyChange
    assert [(change.sequence, change.kind) for change in changes] == [
        (1, kinds.KIND_ACCOUNT_UPDATED),
        (2, kinds.KIND_ACCOUNT_SUSPENDED),
        (3, kinds.KIND_ACCOUNT_UPDATED),
        (4, kinds.KIND_KEY_REVOKED),
    ]
    assert {change.account_id for change in changes} == {account.account_id}
    assert [change.key_id for change in changes] == ["", "", "", key.key.key_id]
    await edge.leave()


async def test_revoking_returns_only_when_every_edge_has_acknowledged(auth: Auth) -> None:
    key = await auth.key(await auth.account())
    edges = [await Edge.open(auth.edge_peer) for _ in range(2)]
    revoking = auth.revoking(key.key.key_id)
    for edge in edges:
        assert await still_waiting(revoking)
        change = await edge.read("change")
        await edge.ack(change.sequence)
    answer = await revoking
    assert answer.sessions_timed_out == 0
    for edge in edges:
        await edge.leave()


async def test_a_repeated_revocation_waits_as_the_first_one_does(auth: Auth) -> None:
    key = await auth.key(await auth.account())
    edge = await Edge.open(auth.edge_peer)
    first, repeated = auth.revoking(key.key.key_id), auth.revoking(key.key.key_id)
    change = await edge.read("change")
    assert await still_waiting(first)
    assert await still_waiting(repeated)
    await edge.ack(change.sequence)
    await asyncio.gather(first, repeated)
    await edge.leave()


async def test_a_caller_that_gives_up_waiting_leaves_the_key_revoked_and_the_edge_told(auth: Auth) -> None:
    key = await auth.key(await auth.account())
    edge = await Edge.open(auth.edge_peer)
    revoking = auth.revoking(key.key.key_id)
    change = await edge.read("change")
    revoking.cancel()
    await asyncio.wait([revoking])
    with pytest.raises(RpcFailure, match="KEY_REVOKED"):
        await auth.authenticate(key.secret)
    await edge.beat_answered(1)
    repeated = auth.revoking(key.key.key_id)
    assert await still_waiting(repeated)
    await edge.ack(change.sequence)
    assert (await repeated).sessions_timed_out == 0
    await edge.leave()


async def test_a_change_of_limits_waits_for_nobody(auth: Auth) -> None:
    account = await auth.account()
    edge = await Edge.open(auth.edge_peer)
    request = auth_pb2.UpdateAccountRequest(account_id=account.account_id, requests_per_minute=9)
    await auth.operator.UpdateAccount(request)
    assert (await edge.read("change")).kind == auth_pb2.KeyChange.KIND_ACCOUNT_UPDATED
    await edge.leave()


async def test_an_edge_that_falls_silent_is_waited_out_and_counted(auth: Auth, clock: FakeClock) -> None:
    key = await auth.key(await auth.account())
    silent, lively = await Edge.open(auth.edge_peer), await Edge.open(auth.edge_peer)
    revoking = auth.revoking(key.key.key_id)
    await lively.ack((await lively.read("change")).sequence)
    await lively.beat_answered(1)  # so the acknowledgement sent before it has arrived
    clock.advance(FAKE_TTL)
    assert await still_waiting(revoking)
    clock.advance(0.001)
    assert (await revoking).sessions_timed_out == 1
    silent.call.cancel()
    lively.call.cancel()


@pytest.mark.parametrize("how", ["cancelled", "lost connection"])
async def test_an_edge_whose_stream_broke_is_waited_for_since_it_may_still_trust_its_cache(
    auth: Auth, clock: FakeClock, how: str
) -> None:
    key = await auth.key(await auth.account())
    edge = await Edge.open(auth.edge_peer)
    await edge.beat_answered(1)
    if how == "cancelled":
        edge.call.cancel()
    else:
        await auth.edge_peer.channel.close()
    revoking = auth.revoking(key.key.key_id)
    clock.advance(FAKE_TTL - 0.1)
    assert await still_waiting(revoking)
    clock.advance(0.2)
    assert (await revoking).sessions_timed_out == 1


async def test_an_edge_that_said_goodbye_is_not_waited_for(auth: Auth) -> None:
    key = await auth.key(await auth.account())
    edge = await Edge.open(auth.edge_peer)
    await edge.leave()
    assert (await auth.revoking(key.key.key_id)).sessions_timed_out == 0


async def test_an_edge_that_says_goodbye_during_a_revocation_ends_the_wait(auth: Auth) -> None:
    key = await auth.key(await auth.account())
    edge = await Edge.open(auth.edge_peer)
    revoking = auth.revoking(key.key.key_id)
    await edge.read("change")
    assert await still_waiting(revoking)
    await edge.leave()
    assert (await revoking).sessions_timed_out == 0


async def test_an_edge_that_was_dead_before_a_revocation_neither_delays_nor_counts(
    auth: Auth, clock: FakeClock
) -> None:
    key = await auth.key(await auth.account())
    edge = await Edge.open(auth.edge_peer)
    edge.call.cancel()
    clock.advance(FAKE_TTL + 0.1)
    assert (await auth.revoking(key.key.key_id)).sessions_timed_out == 0


async def test_a_session_that_auth_gave_up_cannot_come_back_to_life(auth: Auth, clock: FakeClock) -> None:
    key = await auth.key(await auth.account())
    edge = await Edge.open(auth.edge_peer)
    revoking = auth.revoking(key.key.key_id)
    clock.advance(FAKE_TTL + 0.1)
    await revoking
    await edge.beat(1)  # too late: its cache may hold the key
    assert await edge.failure() == (grpc.StatusCode.UNAVAILABLE, "SESSION_LAPSED")


async def test_heartbeats_keep_a_session_alive_beyond_its_ttl(auth: Auth, clock: FakeClock) -> None:
    key = await auth.key(await auth.account())
    edge = await Edge.open(auth.edge_peer)
    for number in range(1, 5):
        clock.advance(FAKE_TTL * 0.8)
        await edge.beat_answered(number)
    revoking = auth.revoking(key.key.key_id)
    change = await edge.read("change")
    assert await still_waiting(revoking)
    await edge.ack(change.sequence)
    assert (await revoking).sessions_timed_out == 0
    await edge.leave()


async def test_an_edge_that_beats_but_never_acts_is_cut_off_and_then_waited_out(auth: Auth, clock: FakeClock) -> None:
    key = await auth.key(await auth.account())
    edge = await Edge.open(auth.edge_peer)
    revoking = auth.revoking(key.key.key_id)
    await edge.read("change")
    clock.advance(FAKE_TTL / 5)
    await edge.beat_answered(1)
    clock.advance(0.1)
    await edge.beat(2)
    assert await edge.failure() == (grpc.StatusCode.UNAVAILABLE, "SESSION_LAPSED")
    assert await still_waiting(revoking)  # it may trust its cache since the first heartbeat
    clock.advance(FAKE_TTL)
    assert (await revoking).sessions_timed_out == 1


async def test_a_new_stream_starts_behind_all_that_it_need_not_see(auth: Auth) -> None:
    account = await auth.account()
    keys = [await auth.key(account) for _ in range(2)]
    await auth.revoking(keys[0].key.key_id)
    edge = await Edge.open(auth.edge_peer)
    revoking = auth.revoking(keys[1].key.key_id)
    change = await edge.read("change")
    assert (edge.sequence, change.sequence, change.key_id) == (1, 2, keys[1].key.key_id)
    await edge.ack(2)
    await revoking
    await edge.leave()


async def test_acknowledging_what_was_never_sent_is_refused(auth: Auth) -> None:
    edge = await Edge.open(auth.edge_peer)
    await edge.ack(1)
    assert await edge.failure() == (grpc.StatusCode.INVALID_ARGUMENT, "ACK_OUT_OF_RANGE")


async def test_many_changes_reach_every_stream_complete_and_in_order(auth: Auth) -> None:
    account = await auth.account()
    edges = [await Edge.open(auth.edge_peer) for _ in range(3)]
    request = auth_pb2.UpdateAccountRequest(account_id=account.account_id)
    for number in range(1, 31):
        request.requests_per_minute = number
        await auth.operator.UpdateAccount(request)
    for edge in edges:
        assert [(await edge.read("change")).sequence for _ in range(30)] == list(range(1, 31))
        await edge.leave()


async def test_a_server_that_stops_tells_its_streams_and_waits_for_their_goodbye(
    sqlite_url: str, clock: FakeClock
) -> None:
    async with running_auth(sqlite_url, clock, ttl=FAKE_TTL, drain=30) as auth:
        edge = await Edge.open(auth.edge_peer)
        stopping = asyncio.create_task(auth.server.stop())
        await edge.read("draining")
        await edge.beat_answered(1)
        assert await still_waiting(stopping)
        await edge.leave()
        await stopping


async def test_with_real_clocks_a_cut_off_edge_delays_a_revocation_by_the_ttl(sqlite_url: str) -> None:
    ttl = 1.5
    async with running_auth(sqlite_url, SystemClock(), ttl=ttl) as auth:
        key = await auth.key(await auth.account())
        started = time.monotonic()
        edge = await Edge.open(auth.edge_peer)
        edge.call.cancel()
        assert (await auth.revoking(key.key.key_id)).sessions_timed_out == 1
        assert ttl * 0.99 <= time.monotonic() - started < ttl + 5


async def test_with_real_clocks_an_acknowledged_revocation_waits_for_no_ttl(sqlite_url: str) -> None:
    async with running_auth(sqlite_url, SystemClock(), ttl=20) as auth:
        key = await auth.key(await auth.account())
        edge = await Edge.open(auth.edge_peer)
        started = time.monotonic()
        revoking = auth.revoking(key.key.key_id)
        await edge.ack((await edge.read("change")).sequence)
        await revoking
        assert time.monotonic() - started < 5
        await edge.leave()


async def test_with_real_clocks_a_silent_stream_is_ended(sqlite_url: str) -> None:
    async with running_auth(sqlite_url, SystemClock(), ttl=0.5) as auth:
        silent = await Edge.open(auth.edge_peer)
        assert await silent.failure() == (grpc.StatusCode.UNAVAILABLE, "SESSION_LAPSED")
