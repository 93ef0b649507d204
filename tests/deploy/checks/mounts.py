"""The files that a pod's volumes make, path by path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tests.deploy.rendered import Document, Manifests, Workload


@dataclass(frozen=True)
class File:
    """One file of a volume: where it is, and from which key of which object."""

    path: str
    kind: str
    name: str
    key: str


def files(manifests: Manifests, secrets: dict[str, set[str]], workload: Workload, container: Document) -> list[File]:
    """All files of Secrets and ConfigMaps that a container finds. `secrets`: keys by name of those that exist."""
    volumes = {volume["name"]: volume for volume in workload.pod.get("volumes", [])}
    found = []
    for mount in container.get("volumeMounts", []):
        for source in _sources(volumes.get(mount["name"], {})):
            for key, path in _items(manifests, secrets, source):
                found.append(File(str(PurePosixPath(mount["mountPath"]) / path), source["kind"], source["name"], key))
    return found


def sources(workload: Workload) -> Iterator[dict[str, Any]]:
    """Every Secret and ConfigMap of a pod's volumes: kind, name, items."""
    for volume in workload.pod.get("volumes", []):
        yield from _sources(volume)


def _sources(volume: Document) -> Iterator[dict[str, Any]]:
    if "secret" in volume:
        yield {"kind": "Secret", "name": volume["secret"]["secretName"], "items": volume["secret"].get("items")}
    if "configMap" in volume:
        yield {"kind": "ConfigMap", "name": volume["configMap"]["name"], "items": volume["configMap"].get("items")}
    for each in volume.get("projected", {}).get("sources", []):
        for key, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
            if key in each:
                yield {"kind": kind, "name": each[key]["name"], "items": each[key].get("items")}


def _items(manifests: Manifests, secrets: dict[str, set[str]], source: dict[str, Any]) -> list[tuple[str, str]]:
    if source["items"] is not None:
        return [(item["key"], item["path"]) for item in source["items"]]
    keys = keys_of(manifests, secrets, source["kind"], source["name"])
    return [(key, key) for key in sorted(keys or ())]


def keys_of(manifests: Manifests, secrets: dict[str, set[str]], kind: str, name: str) -> set[str] | None:
    """The keys of a Secret or ConfigMap; None when there is none."""
    if kind == "Secret":
        return secrets.get(name)
    config = manifests.named("ConfigMap", name)
    return None if config is None else set(config.get("data", {}))
