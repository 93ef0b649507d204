"""What an overlay becomes: `kubectl kustomize`, read into Python."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = {path.name: path for path in sorted((ROOT / "deploy/k8s/overlays").iterdir())}
VARIANTS = {path.name: path for path in sorted((ROOT / "tests/deploy/variants").iterdir())}  # of production
ALL = {**OVERLAYS, **VARIANTS}
NAMESPACE = "muhgpt"
NAME = "app.kubernetes.io/name"
RENDER = 60.0  # seconds

Document = dict[str, Any]


def kubectl() -> str | None:
    """Where kubectl is, with kustomize inside; None where it is not installed."""
    return shutil.which("kubectl")


def render(path: Path) -> Manifests:
    """Renders a kustomization. Fails with kustomize's own words."""
    done = subprocess.run(["kubectl", "kustomize", str(path)], capture_output=True, text=True, timeout=RENDER)
    assert done.returncode == 0, done.stderr
    return Manifests([document for document in yaml.safe_load_all(done.stdout) if document])


@dataclass(frozen=True)
class Workload:
    """Something that makes pods. All dictionaries are the manifest's own: changing them changes it."""

    document: Document
    template: Document

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"]["labels"])

    @property
    def pod(self) -> Document:
        """The pod's spec."""
        spec: Document = self.template["spec"]
        return spec

    @property
    def containers(self) -> list[Document]:
        """Those that run while the pod lives."""
        return list(self.pod["containers"])

    @property
    def all_containers(self) -> list[Document]:
        """With those that run before."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Ports by name."""
        return {port["name"]: port["containerPort"] for each in self.containers for port in each.get("ports", [])}

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Manifests:
    """All documents of one rendered overlay."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents

    def of(self, kind: str) -> list[Document]:
        """The documents of a kind."""
        return [each for each in self.documents if each["kind"] == kind]

    def named(self, kind: str, name: str) -> Document | None:
        """One document."""
        return next((each for each in self.of(kind) if each["metadata"]["name"] == name), None)

    def get(self, kind: str, name: str) -> Document:
        """One document that must be there."""
        found = self.named(kind, name)
        assert found is not None, f"no {kind} {name}"
        return found

    @property
    def workloads(self) -> list[Workload]:
        """All that makes pods."""
        return list(self._workloads())

    def workload(self, name: str) -> Workload:
        """One workload that must be there."""
        return next(each for each in self.workloads if each.name == name)

    def _workloads(self) -> Iterator[Workload]:
        for each in self.documents:
            if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
                yield Workload(each, each["spec"]["template"])
            elif each["kind"] == "CronJob":
                yield Workload(each, each["spec"]["jobTemplate"]["spec"]["template"])

    def environment(self, container: Document) -> dict[str, str | Document]:
        """A container's variables: texts, and for Secrets' values their reference {"name", "key"}.

        ConfigMaps that are not there are left out; checks/references.py speaks of them.
        """
        found: dict[str, str | Document] = {}
        for source in container.get("envFrom", []):
            config = self.named("ConfigMap", source.get("configMapRef", {}).get("name", ""))
            found |= (config or {}).get("data", {})
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {})
            found[variable["name"]] = reference.get("secretKeyRef") or str(variable.get("value", ""))
        return found


def selects(selector: Document | None, labels: dict[str, str]) -> bool:
    """Whether a label selector takes a set of labels; an empty one takes all, an absent one none."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_expression(each, labels) for each in selector.get("matchExpressions", []))


def _expression(expression: Document, labels: dict[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"unknown operator {expression['operator']}")
