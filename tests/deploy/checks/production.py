"""What only paying users need: images by digest, databases whose certificates are checked, no shell that waits."""

from __future__ import annotations

from collections.abc import Iterator

from tests.deploy.checks import mounts
from tests.deploy.checks.mounts import sources
from tests.deploy.checks.platform import target
from tests.deploy.checks.secrets import expected
from tests.deploy.rendered import Manifests

WITH_DATABASE = ("auth", "quota")
AUTHORITYS_KEY = "ca.key"


def problems(manifests: Manifests) -> list[str]:
    """Each thing that is fit for trying only."""
    if manifests.named("Job", "bootstrap") is not None:  # the overlay for trying
        return list(_bootstrap(manifests))
    return [*_digests(manifests), *_databases(manifests), *_authorities(manifests), *_operator(manifests)]


def _bootstrap(manifests: Manifests) -> Iterator[str]:
    """The guide has Secrets deleted and the overlay applied again: the Job must run again then."""
    job = manifests.get("Job", "bootstrap")
    if job["spec"].get("ttlSecondsAfterFinished") != 0:
        yield "Job bootstrap still stands when it is done, so that an apply after it does nothing"
    if manifests.workload("operator").document["spec"]["replicas"] != 1:
        yield "Deployment operator does not run, and the guide's first steps need it"


def _digests(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        for container in workload.all_containers:
            if target(container) and "@sha256:" not in container["image"]:
                yield f"{workload}: the image {container['image']} is named by a tag, which can be moved"


def _databases(manifests: Manifests) -> Iterator[str]:
    for name in WITH_DATABASE:
        for container in manifests.workload(name).all_containers:
            if not manifests.environment(container).get(f"MUHGPT_{name.upper()}_DATABASE_CA_FILE"):
                yield f"{name}, container {container['name']}: its database's certificate is not checked"


def _authorities(manifests: Manifests) -> Iterator[str]:
    secrets = expected(manifests)
    for workload in manifests.workloads:
        for source in sources(workload):
            keys = mounts.keys_of(manifests, secrets, source["kind"], source["name"]) or set()
            mounted = {item["key"] for item in source["items"]} if source["items"] is not None else keys
            if AUTHORITYS_KEY in mounted:
                yield f"{workload} has the key of an authority, {source['name']}"


def _operator(manifests: Manifests) -> Iterator[str]:
    replicas = manifests.workload("operator").document["spec"]["replicas"]
    if replicas:
        yield f"Deployment operator has {replicas} replicas: a shell with the operator's rights that waits"
