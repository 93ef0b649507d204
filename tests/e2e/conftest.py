"""One running platform for all tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.worlds.processes import Account, Platform, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this directory is marked e2e."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Started once; every test makes accounts of its own."""
    with running(tmp_path_factory.mktemp("platform") / "data") as platform:
        yield platform


@pytest.fixture
def account(platform: Platform) -> Account:
    """A new account with a million credits and a key."""
    return platform.account()


@pytest.fixture
def client(platform: Platform, account: Account) -> Iterator[OpenAI]:
    """The official SDK with that account's key."""
    with platform.openai(account.key) as client:
        yield client
