"""Certificates: each role has its own, with the name that peers look for, where the process reads it (docs/tls.md)."""

from __future__ import annotations

from collections.abc import Iterator

from muhgpt_cli.bootstrap.secrets import ROLES
from servicekit.tls.directory import name_of
from tests.deploy.checks.mounts import sources
from tests.deploy.rendered import Manifests


def problems(manifests: Manifests) -> list[str]:
    """Each certificate that its peers would refuse, and each pod that has another's."""
    return [*_certificates(manifests), *_mounted(manifests), *_plaintext(manifests)]


def _certificates(manifests: Manifests) -> Iterator[str]:
    certificates = {each["spec"]["secretName"]: each for each in manifests.of("Certificate")}
    issuers = {each["metadata"]["name"] for each in manifests.of("Issuer")}
    for role in ROLES if certificates else ():
        certificate = certificates.get(f"{role}-tls")
        if certificate is None:
            yield f"no Certificate writes the Secret {role}-tls"
            continue
        if certificate["spec"]["dnsNames"] != [name_of(role)]:
            yield f"the certificate of {role} is for {certificate['spec']['dnsNames']}, not {name_of(role)}"
        if not {"server auth", "client auth"} <= set(certificate["spec"]["usages"]):
            yield f"the certificate of {role} is not for servers and clients"
    for certificate in certificates.values():
        if certificate["spec"]["issuerRef"]["name"] not in issuers:
            yield f"there is no Issuer {certificate['spec']['issuerRef']['name']}"


def _mounted(manifests: Manifests) -> Iterator[str]:
    for role in ROLES:
        workload = manifests.workload(role)
        mine = {each["name"] for each in sources(workload) if each["name"].endswith("-tls")}
        if mine != {f"{role}-tls"}:
            yield f"{workload} mounts {sorted(mine)}, not {role}-tls"


def _plaintext(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        for container in workload.all_containers:
            for name, value in manifests.environment(container).items():
                if name.endswith("_PLAINTEXT") and str(value).lower() not in ("false", "0", ""):
                    yield f"{workload} asks for plaintext"
