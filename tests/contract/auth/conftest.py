"""One auth on SQLite with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.auth.auth_world import FAKE_TTL, Auth, running_auth
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def auth(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Auth]:
    async with running_auth(sqlite_url, clock, ttl=FAKE_TTL) as running:
        yield running
