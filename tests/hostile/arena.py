"""A running platform, a victim who uses it, and attackers who come one after the other."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from tests.hostile.attack import Attack, Attacker
from tests.hostile.memory import SERVICES, Peaks, family
from tests.hostile.report import Row, Times
from tests.hostile.wire import Target
from tests.worlds.processes import Platform, running, until

PATIENT = 10**9  # credits
ACCOUNTS = 4  # of one attacker, each with an address
HELPERS = ("images.worker", "http.parsing", "upstream.tokens")  # modules
QUIET = (
    2.0 if os.environ.get("HOSTILE_LONG") == "1" else 0.5
)  # seconds of the victim's ordinary life that are measured before each attack
ENOUGH = 8  # short requests after which the victim is warm
CALM = 20.0  # seconds within which the platform serves as before, once an attack is over


@dataclass
class Arena:
    """A platform with so many edge workers."""

    platform: Platform
    workers: int
    victim: subprocess.Popen[str]
    _attacks: Iterator[int] = field(default_factory=itertools.count)

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
        attacker = self.attacker(seconds)
        peaks = Peaks(self.roots)
        with peaks.watched():
            await attack.run(attacker)
        during = self.period()
        sizes = peaks.whole if self.workers == 1 else peaks.single
        return Row(attack.name, attack.case, self.workers, before, during, sizes, attacker.outcomes)

    def attacker(self, seconds: float) -> Attacker:
        """Somebody whom the platform has not met: accounts and addresses are new for each attack."""
        number = next(self._attacks)
        keys = [self.platform.account(credits=0).key for _ in range(ACCOUNTS)]
        rich = self.platform.account(credits=PATIENT, per_minute=100_000).key
        sources = [f"127.1.{number}.{each}" for each in range(1, ACCOUNTS + 1)]
        return Attacker(self.target, keys, rich, sources, seconds)

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
        pids = {pid for root in self.roots().values() for pid in family(root)}
        return {pid for pid in pids if not is_helper(pid)}

    def books(self) -> dict[str, object]:
        """What `muhgpt doctor` reports."""
        report: dict[str, object] = self.platform.muhgpt("doctor")
        return report


@contextmanager
def arena(folder: Path, workers: int) -> Iterator[Arena]:
    """Starts a platform and its victim, and ends both."""
    with running(folder / "data", "--workers", str(workers)) as platform:
        mine = platform.account(credits=PATIENT, per_minute=100_000)
        command = [sys.executable, "-m", "tests.hostile.victim", platform.base_url]
        environment = {**os.environ, "VICTIM_KEY": mine.key}
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=root
        ) as victim:
            try:
                yield Arena(platform, workers, victim)
            finally:
                victim.kill()


def is_helper(pid: int) -> bool:
    """Whether a process does one client's work at a time (a picture, a large body, a count) and may be ended for it."""
    try:
        words = " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return True
    return any(helper in words for helper in HELPERS)


def counted(outcomes: Counter[str]) -> int:
    return sum(outcomes.values())


def metric(base_url: str, name: str) -> float | None:
    """The largest value of a metric of the edge; None where it is not served beside the API."""
    answer = httpx.get(base_url.removesuffix("/v1") + "/metrics", timeout=10)
    values = [float(line.rpartition(" ")[2]) for line in answer.text.splitlines() if line.startswith(name)]
    return max(values, default=None)
