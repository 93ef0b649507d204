"""One platform for each number of workers; the table at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile import report
from tests.hostile.arena import Arena, arena

LONG = os.environ.get("HOSTILE_LONG") == "1"  # `make hostile`


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this directory is marked hostile: it measures, and wants the machine to itself."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.hostile)


@pytest.fixture(scope="session", params=[1, 4] if LONG else [1])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Started once for each number of workers."""
    with arena(tmp_path_factory.mktemp("arena"), request.param) as one:
        yield one


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, for docs/hostile.md."""
    terminalreporter.section("hostile")
    for line in report.lines():
        terminalreporter.write_line(line)
