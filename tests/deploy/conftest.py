"""The rendered overlays, each rendered once; skipped where there is no kubectl to render them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests.deploy.checks import schemas
from tests.deploy.rendered import ALL, Manifests, kubectl, render

_rendered_so_far: dict[Path, Manifests] = {}


def rendered(name: str) -> Manifests:
    """A copy that the test may change."""
    if kubectl() is None:
        pytest.skip("kubectl is not installed: the manifests cannot be rendered")
    path = ALL[name]
    if path not in _rendered_so_far:
        _rendered_so_far[path] = render(path)
    return copy.deepcopy(_rendered_so_far[path])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which kinds no schema of Kubernetes itself describes: only a server that has them can check these."""
    kinds = {
        f"{each['kind']} ({each['apiVersion']})"
        for manifests in _rendered_so_far.values()
        for each in manifests.documents
        if schemas.is_custom(each)
    }
    if kinds:
        terminalreporter.write_line(f"manifests: SKIPPED schemas of other projects: {', '.join(sorted(kinds))}")


@pytest.fixture(params=list(ALL))
def overlay(request: pytest.FixtureRequest) -> str:
    """Each overlay's name, and each variant's."""
    return str(request.param)


@pytest.fixture
def manifests(overlay: str) -> Manifests:
    """What it becomes."""
    return rendered(overlay)
