"""`muhgpt up` on a disk that fills up: for its data, or for its logs only. Service returns by itself (B4, B5)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests.faults.conftest import LONG
from tests.faults.disk import full, small_disk
from tests.worlds.processes import Platform, running

pytestmark = pytest.mark.timeout(300)

FULL = 30.0 if LONG else 4.0  # seconds
BACK = 30.0  # seconds after the cure
WHICH = ("data", pytest.param("logs", marks=pytest.mark.long))


@pytest.fixture(params=WHICH)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The small one, below or at the data directory."""
    data = tmp_path / "data"
    if request.param == "logs":
        data.mkdir(mode=0o700)
    with small_disk(data if request.param == "data" else data / "logs") as mounted:
        mounted.chmod(0o700)
        yield mounted


def status(platform: Platform, key: str) -> int:
    """Of one request."""
    request = {"model": "muh-chat", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{platform.base_url}/chat/completions", json=request, headers=headers, timeout=60).status_code


def family(platform: Platform) -> set[int]:
    """All processes that run."""
    return {process.pid for process in psutil.Process(platform.process.pid).children(recursive=True)}


def test_it_says_503_at_most_while_the_disk_is_full_and_serves_again_without_a_restart(
    tmp_path: Path, disk: Path
) -> None:
    with ExitStack() as stack:
        platform = stack.enter_context(running(tmp_path / "data"))
        account = platform.account(per_minute=100_000)
        assert status(platform, account.key) == 200
        before, run = family(platform), json.loads((platform.data_dir / "run.json").read_text())
        seen = []
        with full(disk):
            until = time.monotonic() + FULL
            while time.monotonic() < until:
                seen.append(status(platform, account.key))
        cured = time.monotonic()
        while status(platform, account.key) != 200:
            assert time.monotonic() - cured < BACK
        assert seen
        assert set(seen) <= {200, 503}
        assert family(platform) == before
        assert json.loads((platform.data_dir / "run.json").read_text()) == run
        assert status(platform, platform.account().key) == 200
        assert platform.muhgpt("doctor")["ok"] is True
        if disk.name == "logs":
            assert set(seen) == {200}
