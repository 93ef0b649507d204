"""One auth on SQLite with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes import FakeClock
from tests.worlds.in_process.auth import FAKE_TTL, Auth, running_auth


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def auth(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Auth]:
    async with running_auth(sqlite_url, clock, ttl=FAKE_TTL) as running:
        yield running
