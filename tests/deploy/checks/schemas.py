"""Every document against the schemas of three Kubernetes versions, unknown fields refused."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import jsonschema
from referencing import Registry, Resource

from tests.deploy.rendered import Document, Manifests

VERSIONS = ("1.33", "1.35", "1.37")
# Kinds of other projects: their schemas are not part of Kubernetes, so only a server with them can check these.
CUSTOM = {
    "cert-manager.io/v1": ("Issuer", "Certificate"),
    "postgresql.cnpg.io/v1": ("Cluster",),
    "gateway.networking.k8s.io/v1": ("Gateway", "HTTPRoute"),
    "monitoring.coreos.com/v1": ("ServiceMonitor", "PodMonitor", "PrometheusRule"),
}


def problems(manifests: Manifests) -> list[str]:
    """Each violation with its path."""
    return [
        f"{document['kind']} {document['metadata']['name']} on Kubernetes {version}: {violation}"
        for document in manifests.documents
        if not is_custom(document)
        for version in VERSIONS
        for violation in _violations(document, version)
    ]


def is_custom(document: Document) -> bool:
    """Whether it is of a kind that Kubernetes itself does not know."""
    return document["kind"] in CUSTOM.get(document["apiVersion"], ())


def _violations(document: Document, version: str) -> list[str]:
    validator = _validator(document["apiVersion"], document["kind"], version)
    if validator is None:
        return [f"there is no {document['kind']} of {document['apiVersion']}"]
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(document)]


@lru_cache
def _validator(api_version: str, kind: str, version: str) -> Any:
    """From the schemas of the package kubernetes-validate, whose own function reads them anew for each document."""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    group, _, number = api_version.rpartition("/")
    name = f"{kind.lower()}-{group.split('.')[0] + '-' if group else ''}{number}.json"
    if not (folder / name).is_file():
        return None
    schema = json.loads((folder / name).read_text())
    return jsonschema.Draft202012Validator(schema, registry=_definitions(version))


@lru_cache
def _definitions(version: str) -> Registry:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    definitions = Resource.from_contents(json.loads((folder / "_definitions.json").read_text()))
    return definitions @ Registry()
