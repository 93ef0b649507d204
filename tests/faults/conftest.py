"""One cluster for each database, shared by the tests that leave it whole; the table at the end of the long run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.report import REPORT
from tests.worlds.cluster import Cluster, Shape, running

LONG = os.environ.get("MUHGPT_FAULTS") == "long"  # `make faults`
WORKERS = (4, 4) if LONG else (4, 2)
SHAPES = {
    "sqlite": Shape("sqlite", workers=WORKERS),
    "postgresql": Shape("postgresql", quotas=2, workers=WORKERS),
    # Two or more of everything, and certificates.
    "replicas": Shape("postgresql", auths=2, quotas=2, inferences=2, workers=(2, 2), tls=True, proxied=False),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Everything below this directory is marked faults. A module's `runs` says which of its tests are in this run."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.faults)
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    left_out = [item for item in ours if isinstance(item, pytest.Function) and not _runs(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _group(item: pytest.Item) -> str:
    """Tests of one group run one after the other, so that each cluster is started once and two are up at most."""
    database = item.callspec.params.get("shared", "") if hasattr(item, "callspec") else ""
    return "postgresql" if database in ("postgresql", "replicas") else "sqlite"


def _runs(item: pytest.Function) -> bool:
    runs = getattr(item.module, "runs", None)
    if runs is None or not hasattr(item, "callspec"):
        return True
    parameters = dict(item.callspec.params)
    database = parameters.pop("shared", "")
    return bool(runs(database, **parameters))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, for docs/guarantees.md."""
    if LONG:
        terminalreporter.section("faults")
        for line in REPORT.lines():
            terminalreporter.write_line(line)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=list(SHAPES))
async def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Started once for each database. Tests take `cluster`."""
    async with running(SHAPES[request.param], tmp_path_factory.mktemp(f"cluster-{request.param}")) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(shared: Cluster) -> AsyncIterator[Cluster]:
    """A running platform: two edges (the second behind proxies), two quota replicas on PostgreSQL.

    It is whole before the test; what the test breaks is mended afterwards.
    """
    yield shared
    await shared.healed()
