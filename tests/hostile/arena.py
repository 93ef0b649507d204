"""A running platform, a victim who uses it, and attackers who come one after the other."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.e2e.platform import Account, Platform, running, until
from tests.hostile.attack import Attack, Attacker
from tests.hostile.memory import SERVICES, Peaks, family
from tests.hostile.report import Row, Times
from tests.hostile.wire import Target

PATIENT = 10**9
QUIET = 2.0  # seconds of the victim's ordinary life that are measured before each attack
ENOUGH = 8  # short requests after which the victim is warm
CALM = 20.0  # seconds within which the platform serves as before, once an attack is over


@dataclass
class Arena:
    """A platform with so many edge workers."""

    platform: Platform
    workers: int
    victim: subprocess.Popen[str]
    poor: Account
    rich: Account

    @property
    def target(self) -> Target:
        address = urlsplit(self.platform.base_url)
        assert address.hostname is not None
        assert address.port is not None
        return Target(address.hostname, address.port)

    async def suffer(self, attack: Attack, seconds: float) -> Row:
        """Runs an attack beside the victim and returns what happened."""
        await asyncio.to_thread(self.settle)
        self.period()
        await asyncio.sleep(QUIET)
        before = self.period()
        attacker = Attacker(self.target, self.poor.key, self.rich.key, seconds)
        peaks = Peaks(self.roots)
        with peaks.watched():
            await attack.run(attacker)
        during = self.period()
        sizes = peaks.whole if self.workers == 1 else peaks.single
        return Row(attack.name, attack.case, self.workers, before, during, sizes, attacker.outcomes)

    def settle(self) -> None:
        """Waits until the victim is served again as usual, so that one attack is not measured in the next one's row."""

        def calm() -> bool:
            times = self.period(after=0.5)
            return not times.failures and len(times.short) >= ENOUGH and times.slowest < 0.5

        until(calm, CALM, "the victim is served as usual")

    def period(self, after: float = 0.0) -> Times:
        """What happened to the victim since the last call."""
        time.sleep(after)
        assert self.victim.stdin is not None
        assert self.victim.stdout is not None
        self.victim.stdin.write("\n")
        self.victim.stdin.flush()
        return Times(**json.loads(self.victim.stdout.readline()))

    def roots(self) -> dict[str, int]:
        """The main process of each service."""
        return {name: self.platform.pid(name) for name in SERVICES}

    def processes(self) -> set[int]:
        """All that serves: a service or a worker that died and was started again has another number."""
        return {pid for root in self.roots().values() for pid in family(root)}

    def books(self) -> dict[str, object]:
        """What `muhgpt doctor` reports."""
        report: dict[str, object] = self.platform.muhgpt("doctor")
        return report


@contextmanager
def arena(folder: Path, workers: int) -> Iterator[Arena]:
    """Starts a platform and its victim, and ends both."""
    with running(folder / "data", "--workers", str(workers)) as platform:
        mine = platform.account(credits=PATIENT, per_minute=100_000)
        poor, rich = platform.account(credits=0), platform.account(credits=PATIENT, per_minute=100_000)
        command = [sys.executable, "-m", "tests.hostile.victim", platform.base_url]
        environment = {**os.environ, "VICTIM_KEY": mine.key}
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=root
        ) as victim:
            try:
                yield Arena(platform, workers, victim, poor, rich)
            finally:
                victim.kill()


def counted(outcomes: Counter[str]) -> int:
    return sum(outcomes.values())


def metric(base_url: str, name: str) -> float | None:
    """The largest value of a metric of the edge; None where it is not served beside the API."""
    answer = httpx.get(base_url.removesuffix("/v1") + "/metrics", timeout=10)
    values = [float(line.rpartition(" ")[2]) for line in answer.text.splitlines() if line.startswith(name)]
    return max(values, default=None)
