"""The ledger when its database is out of reach, full, or only to be read, and when it is back (cases B5 and B7)."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from servicekit.database.database import migrate_database
from servicekit.errors import DatabaseUnavailable
from services.quota.domain.operations import Settle
from services.quota.domain.outcomes import Settled
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import MIGRATIONS, Grant, Ledger, hold_id, opened, reserve, reserved

BATCHES = 800  # about 270 MiB of log, as fast as they go
LOG = 128 * 2**20  # bytes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk is mounted here, which takes root: " + mounted.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(path: Path) -> None:
    """Leaves no room on its disk."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


async def pair(ledger: Ledger, name: str) -> None:
    made_us = ledger.clock.now_us()
    reserved(await ledger.one(reserve(name, rpm=10**6, made_us=made_us)))
    assert isinstance(await ledger.one(Settle(hold_id(name, made_us), 5)), Settled)


async def until_full(ledger: Ledger) -> int:
    """Makes requests until the ledger refuses one; gives how many it took, in the room that its log had left."""
    for number in range(5000):
        try:
            await pair(ledger, f"f{number}")
        except DatabaseUnavailable:
            return number
    raise AssertionError("the disk was not full")


async def test_a_full_disk_refuses_and_room_on_it_serves_again(small_disk: Path, clock: FakeClock) -> None:
    async with opened(f"sqlite:///{small_disk / 'quota.db'}", clock) as (database, store):
        ledger = Ledger(store, Reader(database), clock)
        await ledger.grant("a", 10**9)
        await pair(ledger, "before")
        fill(small_disk / "filler")
        done = await until_full(ledger)
        assert (await ledger.money())[1] in (0, 10 + 64 * 3)
        await ledger.check()
        os.unlink(small_disk / "filler")
        await pair(ledger, "after")
        balance, _ = await ledger.money()
        assert balance == 10**9 - (done + 2) * (10 + 5 * 3)
        await ledger.check()


async def test_connections_to_a_server_that_is_read_only_are_left(postgres_url: str, clock: FakeClock) -> None:
    await migrate_database(postgres_url, migrations=MIGRATIONS)
    admin = await asyncpg.connect(postgres_url)
    name = await admin.fetchval("SELECT current_database()")
    async with opened(postgres_url, clock) as (_, store):
        await store.apply([Grant("g", "a", 10**6)])
    await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with opened(postgres_url, clock, housekeeping=False, migrate=False) as (_, store):
        await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = off')
        await admin.close()
        with pytest.raises(DatabaseUnavailable):
            await store.apply([reserve("x")])
        for number in range(8):
            reserved((await store.apply([reserve(f"h{number}")]))[0])
        await store.renew(b"s" * 16, "edge", 10)


async def test_no_commit_copies_the_log_back(sqlite_url: str, clock: FakeClock) -> None:
    """However long the log is: the file of the database changes only when it is somebody else's turn."""
    async with opened(sqlite_url, clock, checkpoint_interval=3600) as (database, store):
        ledger = Ledger(store, Reader(database), clock)
        await ledger.grant("a", 10**12)
        file = Path(str(database.url.database))
        log = file.with_name(f"{file.name}-wal")
        before = file.stat().st_mtime_ns
        number = 0
        while log.stat().st_size < 40 * 2**20:
            await write_much(ledger, number)
            number += 1
        assert file.stat().st_mtime_ns == before


async def test_the_log_stays_bounded_under_writes_while_somebody_counts(sqlite_url: str, clock: FakeClock) -> None:
    async with opened(sqlite_url, clock, checkpoint_interval=0.05) as (database, store):
        ledger = Ledger(store, Reader(database), clock)
        await ledger.grant("a", 10**12)
        log = Path(f"{database.url.database}-wal")
        largest = 0
        for number in range(BATCHES):
            await write_much(ledger, number)
            if number % 50 == 0:
                await ledger.check()
            largest = max(largest, log.stat().st_size)
        assert largest < LOG


async def write_much(ledger: Ledger, number: int) -> None:
    """A batch of requests of as many accounts."""
    names = [f"{secrets.token_hex(4)}-{number}-{index}" for index in range(64)]
    await ledger.do(*(Grant(f"g{name}", f"a{name}", 1000) for name in names))
