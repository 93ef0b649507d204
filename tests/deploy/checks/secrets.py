"""Which Secrets there will be in a cluster, with which keys: made by cert-manager, CloudNativePG, the bootstrap Job
or the operator. None may be in the manifests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from muhgpt_cli.bootstrap.secrets import ensure_all
from tests.deploy.rendered import Manifests

TLS_KEYS = {"tls.crt", "tls.key", "ca.crt"}
CNPG_KEYS = {"uri", "username", "password", "dbname", "host", "port", "jdbc-uri", "pgpass", "user"}
# What docs/kubernetes.md has the operator make who does without CloudNativePG; a test looks for each there.
BY_HAND = {"auth-database": {"url"}, "quota-database": {"url"}, "database-ca": {"ca.crt"}}


def expected(manifests: Manifests) -> dict[str, set[str]]:
    """Keys by the Secret's name."""
    if manifests.named("Job", "bootstrap") is not None:
        return _bootstrapped()
    found = {each["spec"]["secretName"]: set(TLS_KEYS) for each in manifests.of("Certificate")}
    clusters = {}
    for each in manifests.of("Cluster"):
        name = each["metadata"]["name"]
        clusters |= {f"{name}-app": set(CNPG_KEYS), f"{name}-ca": {"ca.crt", "ca.key"}}
    return found | (clusters or BY_HAND)


class Names:
    """In the place of a cluster's Secrets: keeps what the Job makes."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, bytes]] = {}

    def ensure(self, name: str, make: Any, kind: str = "") -> bool:
        return name not in self.made and bool(self.made.update({name: dict(make())}) or True)

    def read(self, name: str) -> dict[str, bytes]:
        return self.made[name]


def _bootstrapped() -> dict[str, set[str]]:
    names = Names()
    ensure_all(names, datetime(2026, 1, 1, tzinfo=UTC), lambda: "x" * 64)  # type: ignore[arg-type]
    return {name: set(data) for name, data in names.made.items()}
