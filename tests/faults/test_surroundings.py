"""Disks that fill up, a database that may only be read, clocks that are set: service returns by itself (B5 to B7)."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest

from tests.faults.client import Client, at_token
from tests.faults.conftest import LONG
from tests.faults.disk import full, small_disk
from tests.faults.load import PLENTY, under_load
from tests.faults.reconcile import reconcile
from tests.worlds.cluster import Cluster, Shape, running

pytestmark = [pytest.mark.asyncio(loop_scope="function"), pytest.mark.timeout(600)]

AWAY = 30.0 if LONG else 4.0  # seconds
BACK = 30.0  # seconds after the cure within which all is served again
TOKENS = 200
DISKS = ("data", "logs", "both") if LONG else ("both",)
STEPS = (3600, -3600, 150, -150) if LONG else (150,)  # seconds
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
MINUTE = 60.0


async def served_again(cluster: Cluster) -> None:
    """A request at every edge is answered, within the time."""
    async with asyncio.timeout(BACK):
        for edge in cluster.edges:
            while True:
                account = await cluster.office.account(PLENTY)
                if (await Client(cluster.address(edge), account, max_tokens=5).run()).finish == "length":
                    break


@pytest.mark.parametrize("which", DISKS)
async def test_a_full_disk_costs_refusals_and_nothing_else(tmp_path: Path, which: str) -> None:
    with ExitStack() as stack:
        logs = stack.enter_context(small_disk(tmp_path / "logs")) if which != "data" else tmp_path
        data = stack.enter_context(small_disk(tmp_path / "data")) if which != "logs" else tmp_path
        disks = [disk for disk in (logs, data) if disk != tmp_path]
        async with running(Shape("sqlite", workers=(2,), data=data), logs) as cluster:
            before = {role: cluster.pids(role)[0] for role in ("auth", "quota-1", "inference", "edge-1")}
            async with under_load(cluster, at_once=4, max_tokens=TOKENS, most=400) as load:
                watched = load.watched()
                task = watched.start()
                await watched.reached(at_token(20))
                with ExitStack() as filled:
                    for disk in disks:
                        filled.enter_context(full(disk))
                    await passing(AWAY)
                await task
            await served_again(cluster)
            assert {role: cluster.pids(role)[0] for role in before} == before
            statuses = {client.received.status for client in load.clients}
            assert statuses <= {200, 503}, statuses
            await reconcile(cluster, f"full disk of {which}", load.clients, faults=1)


async def passing(seconds: float) -> None:
    """Time, while the load goes on."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:  # noqa: ASYNC110  what goes on is the load
        await asyncio.sleep(0.05)


async def test_a_database_that_fails_over_to_one_that_is_only_read_is_found_when_it_can_be_written(
    tmp_path: Path,
) -> None:
    """What services meet after a failover: their sessions end, and new ones may only read until the promotion."""
    async with running(Shape("postgresql", quotas=2, workers=(2,)), tmp_path) as cluster:
        async with under_load(cluster, at_once=4, max_tokens=TOKENS, most=400) as load:
            watched = load.watched()
            task = watched.start()
            await watched.reached(at_token(20))
            await only_reading(cluster, "on")
            await passing(AWAY)
            await only_reading(cluster, "off")
            await task
        await served_again(cluster)
        await reconcile(cluster, "PostgreSQL is read only", load.clients, faults=1)


async def only_reading(cluster: Cluster, only: str) -> None:
    assert cluster.postgres is not None
    for name in ("auth", "quota"):
        connection = await asyncpg.connect(cluster.postgres.url("postgres"), timeout=10)
        await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {only}')
        if only == "on":
            await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        await connection.close()


class SetClock:
    """The clock of one process, as a file says; the monotonic one stays as it is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        if FAKETIME is None:
            pytest.skip("Debian's faketime is not installed: apt-get install faketime")
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """So far from the right time, as an offset."""
        scratch = self._file.with_suffix(".new")
        scratch.write_text(f"{seconds:+d}\n")
        shutil.move(scratch, self._file)


@pytest.fixture
async def quotas_clock(tmp_path: Path) -> AsyncIterator[tuple[Cluster, SetClock]]:
    """A platform in which the clock of quota can be set."""
    clock = SetClock(tmp_path / "offset")
    shape = Shape("sqlite", workers=(2,), environment={"quota-1": clock.environment})
    async with running(shape, tmp_path) as cluster:
        yield cluster, clock


@pytest.mark.parametrize("step", STEPS)
async def test_a_clock_that_is_set_cuts_no_stream_and_refuses_nobody_for_longer_than_a_minute(
    quotas_clock: tuple[Cluster, SetClock], step: int
) -> None:
    cluster, clock = quotas_clock
    limited = await cluster.office.account(PLENTY, per_minute=2)

    async def ask() -> Client:
        client = Client(cluster.address("edge-1"), limited, max_tokens=5)
        await client.run()
        return client

    async with under_load(cluster, at_once=3, max_tokens=TOKENS, most=300) as load:
        watched = load.watched()
        task = watched.start()
        await watched.reached(at_token(20))
        clock.set(step)
        assert [(await ask()).received.status for _ in range(3)] == [200, 200, 429]
        await task
        again = load.watched()
        task = again.start()
        await again.reached(at_token(20))
        clock.set(0)
        corrected = time.monotonic()
        refused = (await ask()).received
        if step > 0:
            assert refused.status == 429, refused
            assert 0 < float(refused.headers["retry-after"]) <= MINUTE
        await task
    if LONG:
        while (await ask()).received.status != 200:
            assert time.monotonic() - corrected < MINUTE + 5
            await passing(1)
    assert [client.received for client in load.clients if client.received.finish != "length"] == []
    await reconcile(cluster, f"quota's clock is set by {step:+d} s", load.clients, faults=2)
