"""A pod that is told to go has the time that its drain takes: preStop, then the drain time-out, then a margin (G9)."""

from __future__ import annotations

from collections.abc import Iterator

from services.edge.process.supervisor import KILL_GRACE
from tests.deploy.checks.platform import SERVICES
from tests.deploy.rendered import Manifests, Workload

MARGIN = KILL_GRACE  # seconds past the drain time-out before workers are killed
HEARD = 15  # seconds until edges have heard of a replica's end (docs/tls.md)
HEARD_OF_EDGE = 5  # until proxies have heard of an edge's
DNS_AGE = 30 + 5  # seconds: how old CoreDNS's answer may be, and the edges' interval of asking


def problems(manifests: Manifests) -> list[str]:
    """Each Deployment whose pods would be cut."""
    return [each for name in SERVICES for each in _one(manifests, manifests.workload(name))]


def _one(manifests: Manifests, workload: Workload) -> Iterator[str]:
    container = workload.containers[0]
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = float(str(manifests.environment(container).get(f"MUHGPT_{workload.name.upper()}_DRAIN_TIMEOUT", 30)))
    grace = workload.pod.get("terminationGracePeriodSeconds", 30)
    heard = HEARD_OF_EDGE if workload.name == "edge" else HEARD
    if pause < heard:
        yield f"{workload}: preStop waits {pause} s, not {heard}"
    if grace < pause + drain + MARGIN:
        yield f"{workload}: {grace} s are less than preStop {pause} + drain time-out {drain:g} + {MARGIN:g}"
    rolling = workload.document["spec"].get("strategy", {}).get("rollingUpdate", {})
    if rolling.get("maxUnavailable") != 0:
        yield f"{workload}: a rollout may leave fewer replicas than there were (maxUnavailable)"
    if workload.name != "edge" and workload.document["spec"].get("minReadySeconds", 0) < DNS_AGE:
        yield f"{workload}: an old replica may go before edges know the new one (minReadySeconds under {DNS_AGE})"
