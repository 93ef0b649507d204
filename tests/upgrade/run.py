"""`make upgrade-test`: the version before this one and this one beside each other, under load.

Prints a table. Exit code 1 when a request failed, an answer was not charged once, or the books do not balance.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.load import Load, under_load
from tests.faults.reconcile import reconcile
from tests.upgrade.previous import previous, python
from tests.upgrade.requests import Found, every_kind
from tests.worlds.cluster import Cluster, Shape, running

AT_ONCE = 3
TOKENS = 40  # of an answer
REQUESTS = 100  # of the load, at least
MOST = 600
PEERS = ("auth", "quota", "inference")
REPLICAS = ("quota-1", "quota-2", "auth-1", "auth-2", "inference-1", "inference-2", "edge-1", "edge-2")


@dataclass(frozen=True)
class Way:
    """One combination of versions."""

    name: str
    shape: Shape
    run: Callable[[Cluster, Load, Found], Awaitable[None]]
    faults: int = 0


@dataclass(frozen=True)
class Row:
    """What was seen of one."""

    name: str
    database: str
    requests: int
    failed: int
    problems: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        wrong = len(self.problems)
        told = f"{self.requests} | {self.failed} | {wrong} | {'yes' if not wrong else 'no'} | {self.seconds:.0f} s"
        return f"| {self.name} | {self.database} | {told} |"


async def beside(cluster: Cluster, load: Load, found: Found) -> None:
    """Every kind of request beside the load."""
    await every_kind(cluster, found)
    async with asyncio.timeout(300):
        while len(load.clients) < REQUESTS:  # noqa: ASYNC110  the load tells nobody
            await asyncio.sleep(0.05)


async def one_after_the_other(cluster: Cluster, load: Load, found: Found) -> None:
    """Each old process makes room for a new one, as a rollout does it; then back, and every kind of request again."""
    for role in REPLICAS:
        await _replace(cluster, load, role, None)
        if role.endswith("-1"):
            await every_kind(cluster, found)
    old = cluster.shape.pythons["edge"]
    for role in REPLICAS:  # taken back: the old version serves on the new schema
        await _replace(cluster, load, role, old)
    await every_kind(cluster, found)


async def _replace(cluster: Cluster, load: Load, role: str, python: Path | None) -> None:
    service = cluster.service(role)
    if role in cluster.edges:
        load.away.add(role)
    service.terminate()
    assert await service.ended() == 0, service.last_words()
    service.python = python
    await cluster.restart(role)
    await cluster.ready()
    load.away.discard(role)


def ways(old: Path) -> list[Way]:
    """All combinations, for both databases where it matters."""
    peers, everything = dict.fromkeys(PEERS, old), dict.fromkeys((*PEERS, "edge"), old)
    found = []
    for database in ("sqlite", "postgresql"):
        one = {"database": database, "workers": (2,), "proxied": False}
        found.append(Way("old edge, new services", Shape(**one, pythons={"edge": old}), beside))
        found.append(Way("new edge, old services", Shape(**one, pythons=peers), beside))
    replicas = Shape("postgresql", auths=2, quotas=2, inferences=2, workers=(1, 1), proxied=False, pythons=everything)
    found.append(Way("replaced one by one, and taken back", replicas, one_after_the_other, 2 * len(REPLICAS)))
    return found


async def measured(way: Way, folder: Path) -> Row:
    """Runs one combination and looks at everything afterwards."""
    began, found = time.monotonic(), Found()
    async with running(way.shape, folder) as cluster:
        async with under_load(cluster, at_once=AT_ONCE, max_tokens=TOKENS, most=MOST) as load:
            await way.run(cluster, load, found)
        failed = [client.received for client in load.clients if client.received.finish != "length"]
        problems = [*found.problems, *(f"failed: {each}" for each in failed)]
        try:
            await reconcile(cluster, way.name, load.clients, faults=way.faults)
        except AssertionError as error:
            problems.append(str(error))
    requests = len(load.clients) + found.requests
    database = way.shape.database
    return Row(way.name, database, requests, len(failed), tuple(problems), time.monotonic() - began)


def main() -> int:
    """Runs the combinations whose line contains a word of the command line; all of them without any."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade.run", description=__doc__)
    parser.add_argument("words", nargs="*", help="run only those whose name or database contains one of these")
    parser.add_argument("--keep", type=Path, help="a folder for logs and databases")
    options = parser.parse_args()
    commit = previous()
    rows = []
    for way in ways(python(commit)):
        line = f"{way.name} {way.shape.database}"
        if options.words and not any(word in line for word in options.words):
            continue
        with tempfile.TemporaryDirectory(prefix="muhgpt-upgrade-") as temporary:
            folder = (options.keep or Path(temporary)) / line.replace(" ", "-").replace(",", "")
            folder.mkdir(parents=True)
            row = asyncio.run(measured(way, folder))
        print("\n".join([str(row), *row.problems]), file=sys.stderr, flush=True)
        rows.append(row)
    print(f"old: {commit}\n")
    print("| versions | database | requests | failed | other problems | books balance | took |")
    print("|---|---|--:|--:|--:|---|--:|")
    print("\n".join(map(str, rows)))
    return 1 if not rows or any(row.problems for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
