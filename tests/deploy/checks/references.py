"""Every ConfigMap and Secret that a pod refers to is there, with the key; and no Secret is in the manifests."""

from __future__ import annotations

from collections.abc import Iterator

from tests.deploy.checks import mounts
from tests.deploy.checks.secrets import expected
from tests.deploy.rendered import Manifests, Workload


def problems(manifests: Manifests) -> list[str]:
    """Each reference that leads nowhere."""
    secrets = expected(manifests)
    found = [f"Secret {each['metadata']['name']} is in the manifests" for each in manifests.of("Secret")]
    for workload in manifests.workloads:
        found += _volumes(manifests, secrets, workload)
        found += _variables(manifests, secrets, workload)
    return found


def _volumes(manifests: Manifests, secrets: dict[str, set[str]], workload: Workload) -> Iterator[str]:
    for source in mounts.sources(workload):
        keys = mounts.keys_of(manifests, secrets, source["kind"], source["name"])
        if keys is None:
            yield f"{workload}: there is no {source['kind']} {source['name']}"
            continue
        for item in source["items"] or []:
            if item["key"] not in keys:
                yield f"{workload}: {source['kind']} {source['name']} has no key {item['key']}"
    claims = {each["metadata"]["name"] for each in workload.document["spec"].get("volumeClaimTemplates", [])}
    volumes = {volume["name"] for volume in workload.pod.get("volumes", [])} | claims
    for container in workload.all_containers:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"{workload}: {container['name']} mounts {mount['name']}, which is no volume"


def _variables(manifests: Manifests, secrets: dict[str, set[str]], workload: Workload) -> Iterator[str]:
    for container in workload.all_containers:
        for source in container.get("envFrom", []):
            name = source["configMapRef"]["name"]
            if manifests.named("ConfigMap", name) is None:
                yield f"{workload}: there is no ConfigMap {name}"
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference and reference["key"] not in secrets.get(reference["name"], ()):
                yield f"{workload}: Secret {reference['name']} has no key {reference['key']}"
