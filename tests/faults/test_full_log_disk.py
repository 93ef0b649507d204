"""The disk that takes the edges' logs is full, and then a key is revoked (G6)."""

from __future__ import annotations

import asyncio
import resource

import pytest

from tests.faults.client import Client
from tests.faults.load import PLENTY
from tests.worlds.cluster import Cluster
from tests.worlds.parts.office import Account

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

UNLIMITED = resource.RLIM_INFINITY
EACH = 6  # requests to an edge, so that each of its workers has some


def runs(database: str) -> bool:
    """It is the same on each database."""
    return database == "sqlite"


def limit_logs(cluster: Cluster, soft: int) -> None:
    """Of all processes of the edges: files grow to `soft` bytes at most, as on a disk that is full. They have no other
    files than logs and metrics."""
    for edge in cluster.edges:
        service = cluster.service(edge)
        for pid in (service.pid, *(process.pid for process in service.family())):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            if hard == UNLIMITED:  # the others are helpers that may write no file at all
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, UNLIMITED))


async def statuses(cluster: Cluster, account: Account) -> set[int | None]:
    clients = [Client(cluster.address(edge), account, max_tokens=2) for edge in cluster.edges for _ in range(EACH)]
    return {(await client.run()).status for client in clients}


async def test_a_revocation_is_in_force_at_once_and_every_other_key_goes_on(cluster: Cluster) -> None:
    revoked, other = await cluster.office.accounts(2, PLENTY)
    limit_logs(cluster, 1)
    try:
        for _ in range(2):
            assert await statuses(cluster, other) == {200}
        seconds, timed_out = await cluster.office.revoke(revoked)
        assert timed_out == 0
        assert seconds < 2
        assert await statuses(cluster, revoked) == {401}
        assert await statuses(cluster, other) == {200}
    finally:
        limit_logs(cluster, UNLIMITED)
    assert await statuses(cluster, other) == {200}
    async with asyncio.timeout(30):
        while "log_lines_dropped" not in cluster.service(cluster.edges[0]).log.read_text():
            await statuses(cluster, other)
