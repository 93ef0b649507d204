"""The rendered overlays, each rendered once; skipped where there is no kubectl to render them."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path

import pytest

from tests.deploy.rendered import ALL, Manifests, kubectl, render


@lru_cache
def _rendered(path: Path) -> Manifests:
    return render(path)


def rendered(name: str) -> Manifests:
    """A copy that the test may change."""
    if kubectl() is None:
        pytest.skip("kubectl is not installed: the manifests cannot be rendered")
    return copy.deepcopy(_rendered(ALL[name]))


@pytest.fixture(params=list(ALL))
def overlay(request: pytest.FixtureRequest) -> str:
    """Each overlay's name, and each variant's."""
    return str(request.param)


@pytest.fixture
def manifests(overlay: str) -> Manifests:
    """What it becomes."""
    return rendered(overlay)
