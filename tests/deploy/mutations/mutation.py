"""Mistakes made on purpose: what is changed, which check must find it, and words of what it must say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tests.deploy.rendered import NAME, Manifests

Change = Callable[[Manifests], Any]


@dataclass(frozen=True)
class Mutation:
    """A mistake, the check that must find it, and words of what it must say."""

    what: str
    check: ModuleType
    change: Change
    words: str
    overlay: str = "production"


def container(manifests: Manifests, name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifests.workload(name).pod["containers"][0]
    return found


def spec(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifests.get(kind, name)["spec"]
    return found


def config(manifests: Manifests, beginning: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in manifests.of("ConfigMap") if each["metadata"]["name"].startswith(beginning)
    )
    return found


def drop(manifests: Manifests, kind: str, name: str) -> None:
    manifests.documents.remove(manifests.get(kind, name))


def relabel(manifests: Manifests, name: str) -> None:
    manifests.workload(name).template["metadata"]["labels"][NAME] = "other"
