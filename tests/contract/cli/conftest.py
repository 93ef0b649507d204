"""One auth on SQLite, and the command line's view of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from muhgpt_cli.system import System
from tests.fakes import FakeClock
from tests.worlds.in_process.auth import TOKENS, Auth, running_auth


@pytest.fixture
async def auth(sqlite_url: str) -> AsyncIterator[Auth]:
    async with running_auth(sqlite_url, FakeClock()) as running:
        yield running


@pytest.fixture
def system(auth: Auth) -> System:
    return System("the test", {"auth": auth.address}, known_token=TOKENS.operator)
