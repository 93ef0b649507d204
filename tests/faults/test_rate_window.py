"""Real bursts against the rate window, over all edges, workers and quota replicas (G5)."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.faults.client import Client, Received
from tests.faults.conftest import LONG
from tests.faults.load import PLENTY
from tests.faults.report import REPORT, Row
from tests.worlds.cluster import Cluster
from tests.worlds.parts.office import Account

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

LIMIT = 60  # requests in any 60 s: the platform's default
WINDOW = 60.0  # seconds
BURST = 150
EARLY = 0.02  # seconds by which a told second may be early: Retry-After in milliseconds is rounded up, clocks are read
AT_ONCE = 30


async def burst(cluster: Cluster, account: Account, number: int) -> list[Received]:
    """So many requests of one token, as fast as they can be sent."""
    gate = asyncio.Semaphore(AT_ONCE)
    addresses = [cluster.address(edge) for edge in cluster.edges]

    async def one(turn: int) -> Received:
        async with gate:
            return await Client(addresses[turn % len(addresses)], account, max_tokens=1).run()

    return list(await asyncio.gather(*(one(turn) for turn in range(number))))


async def admissions(cluster: Cluster, account: Account) -> list[float]:
    """Unix seconds of all that was admitted, in order."""
    return sorted(charge.reserved_at.ToMicroseconds() / 1e6 for charge in await cluster.office.charges(account))


async def test_a_burst_over_all_workers_and_replicas_admits_exactly_sixty(cluster: Cluster) -> None:
    account = await cluster.office.account(PLENTY, per_minute=None)
    received = await burst(cluster, account, BURST)
    _check(received, admitted=LIMIT)
    assert len(await admissions(cluster, account)) == LIMIT
    for each in received:
        assert each.headers["x-ratelimit-limit-requests"] == str(LIMIT)
    REPORT.add("burst against the rate window", cluster.shape.database, Row(requests=len(received)))


@pytest.mark.skipif(not LONG, reason="takes more than two minutes: only in the long run")
async def test_bursts_across_the_minutes_boundary_admit_sixty_in_any_sixty_seconds(cluster: Cluster) -> None:
    account = await cluster.office.account(PLENTY, per_minute=None)
    await _until(WINDOW - time.time() % WINDOW - 3)  # three seconds before the minute is over
    _check(await burst(cluster, account, LIMIT // 2), admitted=LIMIT // 2)
    await _until(WINDOW - time.time() % WINDOW + 1)  # in the next minute, where a fixed window would begin anew
    refused = await burst(cluster, account, BURST)
    _check(refused, admitted=LIMIT // 2)
    wait = max(
        float(each.headers["retry-after-ms"]) / 1000 - (time.time() - each.ended_at)
        for each in refused
        if each.status == 429
    )
    first, *_ = await admissions(cluster, account)
    assert abs(time.time() + wait - (first + WINDOW)) < 1.0
    await _until(first + WINDOW - time.time() + EARLY)
    assert (await Client(cluster.address("edge-1"), account, max_tokens=1).run()).status == 200
    await _until(WINDOW)
    room = LIMIT - await _recent(cluster, account)
    _check(await burst(cluster, account, BURST), admitted=room)
    times = await admissions(cluster, account)
    for index, instant in enumerate(times):
        assert sum(instant <= other < instant + WINDOW for other in times[index:]) <= LIMIT
    REPORT.add("bursts across the minute's boundary", cluster.shape.database, Row(requests=2 * BURST + LIMIT // 2 + 1))


def _check(received: list[Received], *, admitted: int) -> None:
    statuses = [each.status for each in received]
    assert (statuses.count(200), statuses.count(429)) == (admitted, len(received) - admitted), statuses
    for each in received:
        if each.status == 429:
            assert 0 < int(each.headers["retry-after"]) <= WINDOW
            assert each.code == "rate_limit_exceeded"


async def _recent(cluster: Cluster, account: Account) -> int:
    now = time.time()
    return sum(instant > now - WINDOW for instant in await admissions(cluster, account))


async def _until(seconds: float) -> None:
    await asyncio.sleep(max(0.0, seconds))
