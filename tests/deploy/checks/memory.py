"""What the edge's settings let clients hold fits into its pod; inference's is in tests/integration/inference."""

from __future__ import annotations

from services.edge.process.worker import parsers_of
from services.edge.settings import EdgeSettings
from tests.deploy.rendered import Manifests

MIB = 2**20
COPIES = 3  # of a body while it is translated (docs/settings.md)
CONNECTION = 30 * 1024  # bytes of memory of an idle one (docs/settings.md)
ITSELF = 128 * MIB  # an edge without clients


def problems(manifests: Manifests) -> list[str]:
    """Says by how much an edge whose clients take all that they may is over its limit."""
    container = manifests.workload("edge").containers[0]
    needed, limit = _needed(_settings(manifests)), container.get("resources", {}).get("limits", {}).get("memory", "0Mi")
    allowed = int(limit[:-2]) * {"Mi": MIB, "Gi": 1024 * MIB}[limit[-2:]]
    if needed >= allowed:
        return [f"edge: clients may make it take {needed // MIB} MiB, and its limit is {limit}"]
    return []


def _settings(manifests: Manifests) -> EdgeSettings:
    values = manifests.environment(manifests.workload("edge").containers[0])
    fields = {name.removeprefix("MUHGPT_EDGE_").lower(): value for name, value in values.items()}
    return EdgeSettings(**{name: value for name, value in fields.items() if name in EdgeSettings.model_fields})  # type: ignore[arg-type]


def _needed(settings: EdgeSettings) -> int:
    """Bytes of all workers together."""
    bodies = COPIES * settings.held_body_bytes
    parsers = settings.parsers * parsers_of(settings).memory
    return settings.workers * (ITSELF + bodies + parsers + CONNECTION * settings.max_connections)
