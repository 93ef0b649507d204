"""Probes ask ports and paths that the process serves; ports are those that it is told to listen on."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi.routing import APIRoute

from servicekit.rpc.health import LIVENESS, READINESS
from services.edge.endpoints.health import route as health
from tests.deploy.checks.platform import SERVICES
from tests.deploy.rendered import Document, Manifests, Workload

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
HEALTH_PATHS = {route.path for route in health.router.routes if isinstance(route, APIRoute)}
PROBE_TIMEOUT = 3  # seconds: one, the default, is too short for a process that is starting on a busy node
# The setting that says where each port is.
LISTEN = {"grpc": "LISTEN", "http": "LISTEN", "health": "HEALTH_LISTEN", "metrics": "METRICS_LISTEN"}


def problems(manifests: Manifests) -> list[str]:
    """Each probe that nobody answers, each port that nobody listens on."""
    found = []
    for workload in manifests.workloads:
        for container in workload.containers:
            found += _probes(workload, container)
            if workload.name in SERVICES:
                found += _listening(manifests, workload, container)
    return found


def _probes(workload: Workload, container: Document) -> Iterator[str]:
    if workload.kind == "Job" or not container.get("ports"):
        return
    for kind in PROBES:
        if kind == "livenessProbe" and workload.name == "postgres":
            continue  # it restarts its own processes; killing it from outside only makes a slow recovery start again
        probe = container.get(kind)
        if probe is None:
            yield f"{workload} has no {kind}"
        elif probe.get("timeoutSeconds", 1) < PROBE_TIMEOUT:
            yield f"{workload}: {kind} waits {probe.get('timeoutSeconds', 1)} s for its answer"
        elif "grpc" in probe and workload.ports.get("health") != probe["grpc"]["port"]:
            yield f"{workload}: {kind} asks port {probe['grpc']['port']}, which is not its port `health`"
        elif "grpc" in probe and probe["grpc"].get("service") != (LIVENESS if kind == "livenessProbe" else READINESS):
            yield f"{workload}: {kind} asks for the health of {probe['grpc'].get('service')!r}"
        elif "httpGet" in probe and probe["httpGet"]["port"] not in workload.ports:
            yield f"{workload}: {kind} asks port {probe['httpGet']['port']}, which it has not"
        elif "httpGet" in probe and workload.name == "edge" and probe["httpGet"]["path"] not in HEALTH_PATHS:
            yield f"{workload}: {kind} asks {probe['httpGet']['path']}, which the edge does not serve"


def _listening(manifests: Manifests, workload: Workload, container: Document) -> Iterator[str]:
    environment = manifests.environment(container)
    prefix = f"MUHGPT_{workload.name.upper()}_"
    for name, port in workload.ports.items():
        told = str(environment.get(prefix + LISTEN.get(name, "?"), "nowhere"))
        if told != f"0.0.0.0:{port}":
            yield f"{workload}: its port {name} is {port}, and it listens on {told}"
    wanted = {"edge": {"http", "metrics"}}.get(workload.name, {"grpc", "health", "metrics"})
    if set(workload.ports) != wanted:
        yield f"{workload} has the ports {sorted(workload.ports)}, not {sorted(wanted)}"
