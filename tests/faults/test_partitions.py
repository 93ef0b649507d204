"""The network between an edge and its services: parted, cut, slow (G3, G6)."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.faults.client import Client, at_token
from tests.faults.conftest import LONG
from tests.faults.load import PLENTY
from tests.faults.reconcile import reconcile
from tests.worlds.cluster import Cluster
from tests.worlds.parts.proxy import Proxy

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

TOKENS = 500
MOMENTS = (1, 60, 250) if LONG else (60,)  # tokens of the watched streams at which the wire fails
LEASE = 10.0  # seconds, the default
SHORT = 2.0  # seconds of a partition that an edge outlives
TRUST = 6.0  # seconds after which an edge that lost auth serves nothing (G6)
BUSY = 2.0  # seconds of room on a machine that runs everything on two cores


def wires(cluster: Cluster, service: str) -> list[Proxy]:
    """What leads from the second edge to a service."""
    return [proxy for name, proxy in cluster.proxies.items() if name.startswith(f"edge-2→{service}")]


def runs(database: str, **_: object) -> bool:
    """In the short run on one database only: what is tested here hardly depends on it (conftest.py)."""
    return (LONG and database != "replicas") or database == "sqlite"


async def streams(cluster: Cluster, number: int, tokens: int) -> tuple[list[Client], list[asyncio.Task[object]]]:
    """So many streams on the second edge, each with a token at least."""
    accounts = await cluster.office.accounts(number, PLENTY)
    clients = [Client(cluster.address("edge-2"), account, max_tokens=TOKENS) for account in accounts]
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(client.run()) for client in clients]
    for client in clients:
        assert await client.reached(at_token(tokens)), client.received
    return clients, tasks


@pytest.mark.parametrize("moment", MOMENTS)
async def test_an_edge_parted_from_quota_ends_its_streams_within_its_lease(cluster: Cluster, moment: int) -> None:
    clients, tasks = await streams(cluster, 4, moment)
    parted_at = time.time()
    for wire in wires(cluster, "quota"):
        wire.drop()
    await asyncio.gather(*tasks)
    for client in clients:
        assert client.received.ended_at - parted_at < LEASE + BUSY
        assert client.received.usage or client.received.error, client.received
    refused = await Client(cluster.address("edge-2"), clients[0].account).run()
    assert refused.status == 503, refused
    await reconcile(cluster, "edge parted from quota", clients, faults=1, parted=cluster.address("edge-2"))


async def test_streams_outlive_a_short_partition_from_quota(cluster: Cluster) -> None:
    clients, tasks = await streams(cluster, 4, 1)
    parted = wires(cluster, "quota")
    for wire in parted:
        wire.drop()
        asyncio.get_running_loop().call_later(SHORT, wire.pass_on)
    await asyncio.gather(*tasks)
    assert [client.received.finish for client in clients] == ["length"] * len(clients), [
        client.received.error for client in clients
    ]
    await reconcile(cluster, "short partition from quota", clients, faults=1)


async def test_streams_outlive_a_reset_of_their_connections_to_quota(cluster: Cluster) -> None:
    clients, tasks = await streams(cluster, 4, 1)
    for wire in wires(cluster, "quota"):
        wire.cut()
        await wire.mend()
    await asyncio.gather(*tasks)
    assert [client.received.finish for client in clients] == ["length"] * len(clients)
    await reconcile(cluster, "connections to quota reset", clients, faults=1)


async def test_a_slow_wire_to_quota_slows_streams_and_changes_no_sum(cluster: Cluster) -> None:
    for wire in wires(cluster, "quota"):
        wire.delay(0.05)
    clients, tasks = await streams(cluster, 4, 1)
    await asyncio.gather(*tasks)
    assert [client.received.finish for client in clients] == ["length"] * len(clients)
    await reconcile(cluster, "slow wire to quota", clients, faults=1)


async def test_an_edge_parted_from_auth_serves_nothing_after_six_seconds(cluster: Cluster) -> None:
    await cluster.office.outwait()
    address = cluster.address("edge-2")
    *others, revoked = await cluster.office.accounts(30, PLENTY)  # some run, some wait: too many for six seconds
    clients = [Client(address, account, max_tokens=1900) for account in (*others, revoked)]
    tasks = [client.start() for client in clients[:-1]]
    await asyncio.gather(*(cluster.office.until_held(account, held=True) for account in others))
    tasks.append(clients[-1].start())  # after all of them, so the engine does not come to it
    await cluster.office.until_held(revoked, held=True)
    parted_at = time.time()
    for wire in wires(cluster, "auth"):
        wire.drop()
    seconds, timed_out = await cluster.office.revoke(revoked)
    returned_at = time.time()
    assert seconds < TRUST + BUSY
    assert timed_out == cluster.shape.workers[1]
    late = await Client(address, revoked).run()
    assert (late.status, late.tokens) == (503, 0), late
    await asyncio.gather(*tasks)
    assert any(client.received.tokens for client in clients), "nothing was running"
    assert clients[-1].received.error, clients[-1].received
    assert clients[-1].received.ended_at < returned_at + BUSY
    for client in clients:
        assert client.received.ended_at - parted_at < TRUST + BUSY
    await reconcile(cluster, "edge parted from auth", clients, faults=1)
