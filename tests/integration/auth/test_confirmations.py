"""The wait for acknowledgements, where an edge is alive but never confirms."""

from __future__ import annotations

import asyncio

import pytest

from servicekit.database.database import open_database
from services.auth.domain.bell import Bell
from services.auth.domain.errors import RevocationUnconfirmed, SessionLapsed
from services.auth.domain.revocation import Confirmations
from services.auth.domain.sessions import SessionPolicy
from services.auth.metrics import ConfirmationMetrics
from services.auth.migrate import MIGRATIONS
from services.auth.running.heartbeats import Heartbeats
from services.auth.running.late_sessions import SharedLook
from services.auth.store.changes import ChangeTable
from tests.fakes import FakeClock

POLICY = SessionPolicy(ttl=5.0, poll_interval=0.01)


async def test_a_session_that_lives_on_without_confirming_is_told_to_the_caller_in_the_end(sqlite_url: str) -> None:
    clock = FakeClock()
    async with open_database(sqlite_url, migrations=MIGRATIONS) as database:
        store = ChangeTable(database, clock)
        heartbeats = Heartbeats(store, POLICY)
        await store.open_session("edge", "an edge", None, POLICY.ttl)
        late = SharedLook(store, POLICY).late
        waiting = asyncio.create_task(Confirmations(late, Bell(), POLICY, clock, ConfirmationMetrics()).wait(1))
        for _ in range(4):
            await heartbeats.record("edge", 0)
            clock.advance(POLICY.confirmation_timeout / 3)
        with pytest.raises(RevocationUnconfirmed):
            await waiting


async def test_heartbeats_of_many_sessions_are_written_and_each_learns_its_own_fate(sqlite_url: str) -> None:
    clock = FakeClock()
    async with open_database(sqlite_url, migrations=MIGRATIONS) as database:
        store = ChangeTable(database, clock)
        heartbeats = Heartbeats(store, POLICY)
        await store.open_session("late", "an edge", None, POLICY.ttl)
        clock.advance(5.1)
        names = [f"edge{number}" for number in range(10)]
        for name in names:
            await store.open_session(name, "an edge", None, POLICY.ttl)
        fates = await asyncio.gather(*(heartbeats.record(name, 0) for name in (*names, "late")), return_exceptions=True)
        assert fates[:-1] == [None] * 10
        assert isinstance(fates[-1], SessionLapsed)


async def test_a_stream_that_ends_while_its_heartbeat_is_written_spoils_nobody_elses(sqlite_url: str) -> None:
    async with open_database(sqlite_url, migrations=MIGRATIONS) as database:
        store = ChangeTable(database, FakeClock())
        heartbeats = Heartbeats(store, POLICY)
        for name in ("leaving", "staying"):
            await store.open_session(name, "an edge", None, POLICY.ttl)
        leaving, staying = (asyncio.create_task(heartbeats.record(name, 0)) for name in ("leaving", "staying"))
        await asyncio.sleep(0)
        leaving.cancel()
        await staying
        with pytest.raises(asyncio.CancelledError):
            await leaving
