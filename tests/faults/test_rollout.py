"""A new version of every service under load, replica by replica: no request fails, no charge is lost (G9, G12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest

from tests.faults.client import at_token
from tests.faults.conftest import LONG
from tests.faults.load import PLENTY, Load, under_load
from tests.faults.reconcile import reconcile
from tests.worlds.cluster import Cluster

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

TOKENS = 200  # of an answer
AT_ONCE = 6
SECOND, BUSY = 1.0, 1.0  # G6, and room on a machine that runs everything on two cores
ROUNDS = 5 if LONG else 1
ROLES = ("quota-1", "quota-2", "auth-1", "auth-2", "inference-1", "inference-2", "edge-1", "edge-2")


def runs(database: str, **_: object) -> bool:
    """Where there are two of everything (conftest.py)."""
    return database == "replicas"


async def replace(cluster: Cluster, load: Load, role: str) -> None:
    """What a rollout does to a replica: no new requests for an edge, SIGTERM, and another one in its place."""
    service = cluster.service(role)
    if role in cluster.edges:
        load.away.add(role)
    service.terminate()
    assert await service.ended() == 0, service.last_words()
    await cluster.restart(role)
    await cluster.ready()
    load.away.discard(role)


@pytest.mark.long  # `make standin-smoke`, which CI runs too, replaces everything under load
async def test_a_rolling_restart_of_everything_under_load_loses_no_request_and_no_charge(cluster: Cluster) -> None:
    async with under_load(cluster, at_once=AT_ONCE, max_tokens=TOKENS, most=400 * ROUNDS) as load:
        for role in ROLES * ROUNDS:
            watched = load.watched()
            task = watched.start()
            await watched.reached(at_token(10))
            await replace(cluster, load, role)
            await task
    failed = [client.received for client in load.clients if client.received.finish != "length"]
    assert failed == []
    assert len(load.clients) > len(ROLES) * ROUNDS
    await reconcile(cluster, "rolling restart of everything", load.clients, faults=len(ROLES) * ROUNDS)


async def test_a_key_is_revoked_at_once_when_an_auth_replica_has_just_drained(cluster: Cluster) -> None:
    """An edge that leaves a draining replica says goodbye to it, so nobody waits for the session that it had there."""
    await cluster.office.outwait()
    [account] = await cluster.office.accounts(1, 1_000)
    service = cluster.service("auth-1")  # the operator's calls go to the other one
    service.terminate()
    assert await service.ended() == 0
    seconds, timed_out = await cluster.office.revoke(account)
    assert timed_out == 0
    assert seconds < SECOND + BUSY
    await cluster.restart("auth-1")


async def test_a_request_whose_body_is_still_coming_when_its_edge_drains_is_served(cluster: Cluster) -> None:
    [account] = await cluster.office.accounts(1, PLENTY)
    service = cluster.service("edge-2")
    body = orjson.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5})
    host, _, port = service.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {account.key}\r\n"
    writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode())
    writer.write(body[:10])
    await writer.drain()
    await until_refused(service.address, service.terminate)
    writer.write(body[10:])
    answer = await reader.read()  # to the end: a draining edge closes the connection
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert await service.ended() == 0
    assert await cluster.office.money(account) != (account.credits, 0)


async def until_refused(address: str, terminate: Callable[[], None]) -> None:
    """Asks an edge to stop, and returns when it takes no more connections: the drain has begun."""
    host, _, port = address.rpartition(":")
    terminate()
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.01)
