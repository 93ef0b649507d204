"""Several auth replicas on one PostgreSQL: acknowledgements are rows, so it does not matter who is asked."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import grpc
import pytest

from muhgpt.auth.v1 import auth_pb2
from servicekit.clock import SystemClock
from servicekit.rpc.status import RpcFailure
from tests.integration.auth.database_relay import DatabaseRelay
from tests.worlds.in_process.auth import Auth, Edge, running_auth

TTL = 2.0  # seconds; what must be quick is quicker than this


@pytest.fixture
async def replicas(postgres_url: str) -> AsyncIterator[list[Auth]]:
    async with AsyncExitStack() as stack:
        start = (stack.enter_async_context(running_auth(postgres_url, SystemClock(), ttl=TTL)) for _ in range(2))
        yield list(await asyncio.gather(*start))  # at once, so that they also migrate at once


async def test_a_revocation_at_one_replica_reaches_edges_at_the_other_and_waits_for_them(replicas: list[Auth]) -> None:
    here, there = replicas
    key = await here.key(await here.account())
    edges = [await Edge.open(replica.edge_peer) for replica in replicas]
    started = time.monotonic()
    revoking = here.revoking(key.key.key_id)
    for edge in edges:
        assert not revoking.done()
        change = await edge.read("change")
        assert change.key_id == key.key.key_id
        await edge.ack(change.sequence)
    assert (await revoking).sessions_timed_out == 0
    assert time.monotonic() - started < TTL
    with pytest.raises(RpcFailure, match="KEY_REVOKED"):
        await there.authenticate(key.secret)
    for edge in edges:
        await edge.leave()


async def test_an_edge_cut_off_from_the_other_replica_is_waited_out_by_the_databases_clock(
    replicas: list[Auth],
) -> None:
    here, there = replicas
    key = await here.key(await here.account())
    started = time.monotonic()
    edge = await Edge.open(there.edge_peer)
    edge.call.cancel()
    assert (await here.revoking(key.key.key_id)).sessions_timed_out == 1
    assert TTL * 0.99 <= time.monotonic() - started < TTL + 5
    assert (await here.revoking(key.key.key_id)).sessions_timed_out == 0


@pytest.fixture
async def set_clock(postgres_url: str) -> Callable[[int], Awaitable[None]]:
    """Sets the database's clock, so many seconds from the right time, for whoever connects from now on."""

    async def run(*statements: str) -> None:
        connection = await asyncpg.connect(postgres_url, timeout=10)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    await run(
        "CREATE SCHEMA clock",
        "CREATE TABLE clock.step (seconds integer)",
        "INSERT INTO clock.step VALUES (0)",
        "CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT"
        " pg_catalog.clock_timestamp() + (SELECT seconds FROM clock.step) * interval '1 second' $$",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog', current_database());"
        " END $$",
    )
    return lambda seconds: run(f"UPDATE clock.step SET seconds = {seconds}")


@pytest.mark.parametrize("step", [3600, 150, -150, -3600])
async def test_a_clock_of_the_database_that_is_set_neither_ends_trust_nor_holds_up_a_revocation(
    set_clock: Callable[[int], Awaitable[None]], replicas: list[Auth], step: int
) -> None:
    here, there = replicas
    key = await here.key(await here.account())
    edge, silent = await Edge.open(here.edge_peer), await Edge.open(there.edge_peer)
    await edge.beat_answered(1)
    await set_clock(step)
    started = time.monotonic()
    silent.call.cancel()
    revoking = here.revoking(key.key.key_id)
    await edge.ack((await edge.read("change")).sequence)
    for number in (2, 3, 4):
        await asyncio.wait([revoking], timeout=TTL / 4)
        await edge.beat_answered(number)
    assert (await revoking).sessions_timed_out == 1
    # The silent edge may trust its cache for the ttl.
    assert TTL * 0.9 <= time.monotonic() - started < TTL + 5
    await edge.beat_answered(5)
    await edge.leave()


async def test_a_goodbye_at_the_other_replica_ends_the_wait(replicas: list[Auth]) -> None:
    here, there = replicas
    key = await here.key(await here.account())
    edge = await Edge.open(there.edge_peer)
    revoking = here.revoking(key.key.key_id)
    await edge.read("change")
    await edge.leave()
    assert (await revoking).sessions_timed_out == 0


async def test_twenty_keys_asked_of_two_replicas_at_once_are_exactly_ten(replicas: list[Auth]) -> None:
    account = await replicas[0].account()
    made = await asyncio.gather(*(replicas[n % 2].key(account) for n in range(20)), return_exceptions=True)
    assert sum(isinstance(key, auth_pb2.CreateKeyResponse) for key in made) == 10
    reasons = {failure.reason for failure in made if isinstance(failure, RpcFailure)}
    assert reasons == {"TOO_MANY_KEYS"}


@pytest.fixture
async def relay(postgres_url: str) -> AsyncIterator[DatabaseRelay]:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is too long for a socket's name
        async with DatabaseRelay(postgres_url, Path(folder)).running() as running:
            yield running


async def test_a_database_outage_is_unavailable_and_never_an_unknown_key(relay: DatabaseRelay) -> None:
    async with running_auth(relay.url, SystemClock(), ttl=TTL) as auth:
        account = await auth.account()
        key = await auth.key(account)
        relay.cut()
        requests = [
            auth.authenticate(key.secret),
            auth.authenticate("mghp_nobody"),
            auth.key(account),
            auth.operator.RevokeKey(auth_pb2.RevokeKeyRequest(key_id=key.key.key_id)),
            Edge.open(auth.edge_peer),
        ]
        for request in requests:
            with pytest.raises((RpcFailure, grpc.aio.AioRpcError)) as failure:
                await request
            assert "UNAVAILABLE" in str(failure.value)
        await relay.mend()
        assert (await auth.authenticate(key.secret)).principal.key_id == key.key.key_id
        assert (await auth.revoking(key.key.key_id)).sessions_timed_out == 0


async def test_a_session_survives_an_outage_that_is_shorter_than_its_ttl(relay: DatabaseRelay) -> None:
    async with running_auth(relay.url, SystemClock(), ttl=10.0) as auth:
        key = await auth.key(await auth.account())
        edge = await Edge.open(auth.edge_peer)
        relay.cut()
        await edge.beat(1)  # cannot be written, so it must stay unanswered
        with pytest.raises(RpcFailure, match="UNAVAILABLE"):
            await auth.authenticate(key.secret)
        await relay.mend()
        await edge.beat_answered(2)
        revoking = auth.revoking(key.key.key_id)
        change = await edge.read("change")
        await edge.ack(change.sequence)
        assert (await revoking).sessions_timed_out == 0
        await edge.leave()


async def test_a_session_does_not_survive_a_longer_outage(relay: DatabaseRelay) -> None:
    async with running_auth(relay.url, SystemClock(), ttl=TTL) as auth:
        edge = await Edge.open(auth.edge_peer)
        relay.cut()
        await edge.beat(1)
        code, reason = await edge.failure()
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "SESSION_LAPSED")
