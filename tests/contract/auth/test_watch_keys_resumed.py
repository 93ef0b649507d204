"""A session that goes on from the one before: what it is sent, and how long a revocation waits for it (G6)."""

from __future__ import annotations

from typing import Any

import pytest

from muhgpt.auth.v1 import auth_pb2
from services.auth.domain.principal import Defaults
from services.auth.domain.store import MAX_REPLAY
from tests.contract.auth.test_watch_keys import still_waiting
from tests.fakes import FakeClock
from tests.worlds.in_process.auth import FAKE_TTL, Auth, Edge, running_auth


async def change_limits(auth: Auth, account: Any, times: int) -> None:
    request = auth_pb2.UpdateAccountRequest(account_id=account.account_id)
    for number in range(times):
        request.requests_per_minute = number + 1
        await auth.operator.UpdateAccount(request)


async def test_a_welcome_lists_what_this_auth_understands(auth: Auth) -> None:
    edge = Edge(auth.edge_peer)
    await edge.hello(b"x" * 16)
    assert list((await edge.read("welcome")).features) == ["resume"]
    await edge.leave()


async def test_it_is_sent_what_changed_while_it_was_away_and_a_revocation_waits_for_it(auth: Auth) -> None:
    account = await auth.account()
    key = await auth.key(account)
    first = await Edge.open(auth.edge_peer)
    first.call.cancel()
    await change_limits(auth, account, 1)
    revoking = auth.revoking(key.key.key_id)
    resumed = await first.resume(auth.edge_peer)
    assert resumed.sequence == first.sequence
    changes = [await resumed.read("change") for _ in range(2)]
    assert [change.sequence for change in changes] == [1, 2]
    assert changes[1].key_id == key.key.key_id
    assert await still_waiting(revoking)
    await resumed.ack(2)
    assert (await revoking).sessions_timed_out == 0  # nor is the broken session waited out: the edge is here
    await resumed.leave()


async def test_one_that_is_never_heard_is_waited_for_no_longer_than_the_one_before(
    auth: Auth, clock: FakeClock
) -> None:
    """Its Welcome may not have arrived: in a partition each attempt of the edge would prolong the wait."""
    key = await auth.key(await auth.account())
    first = await Edge.open(auth.edge_peer)
    first.call.cancel()
    clock.advance(FAKE_TTL - 1)
    (await first.resume(auth.edge_peer)).call.cancel()
    revoking = auth.revoking(key.key.key_id)
    assert await still_waiting(revoking)
    clock.advance(1.001)
    await revoking


async def test_one_that_was_heard_is_waited_for_and_the_one_before_is_not(auth: Auth, clock: FakeClock) -> None:
    key = await auth.key(await auth.account())
    first = await Edge.open(auth.edge_peer)
    first.call.cancel()
    clock.advance(FAKE_TTL - 1)
    resumed = await first.resume(auth.edge_peer)
    await resumed.beat_answered(1)
    clock.advance(2)
    revoking = auth.revoking(key.key.key_id)
    change = await resumed.read("change")
    assert await still_waiting(revoking)
    await resumed.ack(change.sequence)
    assert (await revoking).sessions_timed_out == 0
    await resumed.leave()


async def test_a_lapsed_session_cannot_be_resumed(auth: Auth, clock: FakeClock) -> None:
    account = await auth.account()
    first = await Edge.open(auth.edge_peer)
    first.call.cancel()
    await change_limits(auth, account, 1)
    clock.advance(FAKE_TTL + 0.001)
    assert (await first.resume(auth.edge_peer)).sequence == 1


async def test_neither_can_one_that_was_given_up_said_goodbye_or_never_was(auth: Auth, clock: FakeClock) -> None:
    key = await auth.key(await auth.account())
    given_up, left, never_was = edges = [await Edge.open(auth.edge_peer) for _ in range(3)]
    await left.leave()
    given_up.call.cancel()
    never_was.call.cancel()
    never_was.session_id = b"y" * 16
    revoking = auth.revoking(key.key.key_id)
    clock.advance(FAKE_TTL + 0.001)
    await revoking
    for edge in edges:
        assert (await edge.resume(auth.edge_peer)).sequence == 1


@pytest.mark.parametrize("missed", [pytest.param(MAX_REPLAY, marks=pytest.mark.long), MAX_REPLAY + 1])
async def test_more_changes_than_are_worth_it_are_not_sent_again(auth: Auth, missed: int) -> None:
    account = await auth.account()
    first = await Edge.open(auth.edge_peer)
    await change_limits(auth, account, missed)
    resumed = await first.resume(auth.edge_peer)
    assert resumed.sequence == (0 if missed == MAX_REPLAY else missed)
    resumed.call.cancel()
    first.call.cancel()


async def test_a_change_that_this_database_never_made_is_not_resumed_from(auth: Auth) -> None:
    first = await Edge.open(auth.edge_peer)
    assert (await first.resume(auth.edge_peer, sequence=7)).sequence == 0
    assert (await first.resume(auth.edge_peer, sequence=-1)).sequence == 0
    first.call.cancel()


async def test_with_other_defaults_every_principal_is_another_one(sqlite_url: str, clock: FakeClock) -> None:
    async with running_auth(sqlite_url, clock, ttl=FAKE_TTL) as auth:
        account = await auth.account()
        first = await Edge.open(auth.edge_peer)
        await change_limits(auth, account, 1)
        first.call.cancel()
    async with running_auth(sqlite_url, clock, ttl=FAKE_TTL, defaults=Defaults(7, 64)) as other:
        resumed = await first.resume(other.edge_peer)
        assert resumed.sequence == 1
        assert resumed.cache_mark != first.cache_mark
        resumed.call.cancel()


@pytest.mark.parametrize("step", [3600, 150, -150, -3600])
async def test_a_clock_that_was_set_before_auth_started_again_neither_ends_trust_nor_holds_up_a_revocation(
    sqlite_url: str, clock: FakeClock, step: float
) -> None:
    async with running_auth(sqlite_url, clock, ttl=FAKE_TTL) as auth:
        account = await auth.account()
        key = await auth.key(account)
        first, silent = [await Edge.open(auth.edge_peer) for _ in range(2)]
        for edge in (first, silent):
            edge.call.cancel()
    clock.set(step)
    async with running_auth(sqlite_url, clock, ttl=FAKE_TTL) as again:
        await change_limits(again, account, 1)
        resumed = await first.resume(again.edge_peer)
        assert resumed.sequence == first.sequence
        await resumed.ack((await resumed.read("change")).sequence)
        await resumed.beat_answered(1)
        revoking = again.revoking(key.key.key_id)
        await resumed.ack((await resumed.read("change")).sequence)
        clock.advance(FAKE_TTL - 1)
        assert await still_waiting(revoking)
        clock.advance(1.001)
        assert (await revoking).sessions_timed_out == 1
        resumed.call.cancel()


@pytest.mark.parametrize("step", [3600, 150, -150, -3600])
async def test_a_clock_that_is_set_under_way_changes_nothing_for_sessions(
    auth: Auth, clock: FakeClock, step: float
) -> None:
    key = await auth.key(await auth.account())
    edge, silent = [await Edge.open(auth.edge_peer) for _ in range(2)]
    clock.set(step)
    await edge.beat_answered(1)
    silent.call.cancel()
    revoking = auth.revoking(key.key.key_id)
    await edge.ack((await edge.read("change")).sequence)
    clock.advance(FAKE_TTL - 1)
    assert await still_waiting(revoking)
    clock.advance(1.001)
    assert (await revoking).sessions_timed_out == 1
    edge.call.cancel()
