"""How the world comes in: an Ingress or a Gateway with its HTTPRoute. Both serve the same paths, wait for the longest
answer, and are believed when they name a client's address."""

from __future__ import annotations

from collections.abc import Iterator

from services.edge.settings import EdgeSettings
from tests.deploy.rendered import Document, Manifests

PATHS = {("Prefix", "/v1"), ("Exact", "/openapi.json")}
ANSWER_TIMEOUT = float(EdgeSettings.model_fields["request_timeout"].default)  # seconds
NGINX = "nginx.ingress.kubernetes.io/"


def problems(manifests: Manifests) -> list[str]:
    """Each way in that leads nowhere, lets in too much or gives up too early."""
    entrances = manifests.of("Ingress") + manifests.of("HTTPRoute")
    found = []
    for ingress in manifests.of("Ingress"):
        found += _ingress(ingress)
    for route in manifests.of("HTTPRoute"):
        found += _route(manifests, route)
        found += _parents(manifests, route)
    if entrances:
        found += _proxies(manifests)
    if manifests.named("Job", "bootstrap") is None and len(entrances) != 1:
        found.append(f"there are {len(entrances)} ways in")
    return found


def _ingress(ingress: Document) -> Iterator[str]:
    paths = {(path["pathType"], path["path"]) for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]}
    yield from _paths("Ingress", paths)
    notes = ingress["metadata"]["annotations"]
    for name in ("proxy-read-timeout", "proxy-send-timeout"):
        yield from _timeout(f"Ingress {name}", notes.get(NGINX + name))
    for name in ("proxy-buffering", "proxy-request-buffering"):
        if notes.get(NGINX + name) != "off":
            yield f"Ingress: {name} is not off"
    if "cert-manager.io/cluster-issuer" not in notes:
        yield "Ingress: nobody issues its certificate"


def _route(manifests: Manifests, route: Document) -> Iterator[str]:
    kinds = {"PathPrefix": "Prefix", "Exact": "Exact"}
    rules = route["spec"]["rules"]
    matches = [match.get("path", {}) for rule in rules for match in rule.get("matches", [{}])]
    yield from _paths("HTTPRoute", {(kinds.get(each.get("type", ""), ""), each.get("value", "/")) for each in matches})
    for rule in rules:
        for name in ("request", "backendRequest"):
            yield from _timeout(f"HTTPRoute {name}", rule.get("timeouts", {}).get(name, "").removesuffix("s"))
        for backend in rule["backendRefs"]:
            service = manifests.named("Service", backend["name"])
            if backend["port"] not in [port["port"] for port in service["spec"]["ports"]] if service else True:
                yield f"HTTPRoute: there is no Service {backend['name']} with port {backend['port']}"


def _parents(manifests: Manifests, route: Document) -> Iterator[str]:
    for parent in route["spec"]["parentRefs"]:
        gateway = manifests.named("Gateway", parent["name"])
        listeners = {each["name"]: each for each in gateway["spec"]["listeners"]} if gateway else {}
        listener = listeners.get(parent.get("sectionName", ""))
        if gateway is None or listener is None:
            yield f"HTTPRoute: there is no Gateway {parent['name']} with a listener {parent.get('sectionName')}"
            continue
        if listener["protocol"] != "HTTPS" or not listener.get("tls", {}).get("certificateRefs"):
            yield f"HTTPRoute: the listener {listener['name']} is plaintext"
        if [listener.get("hostname")] != route["spec"].get("hostnames"):
            yield f"HTTPRoute hosts {route['spec'].get('hostnames')} have a listener for {listener.get('hostname')}"
        if "cert-manager.io/cluster-issuer" not in gateway["metadata"].get("annotations", {}):
            yield "Gateway: nobody issues its certificate"


def _paths(kind: str, paths: set[tuple[str, str]]) -> Iterator[str]:
    if paths != PATHS:
        yield f"{kind} serves {sorted(paths)}"


def _timeout(what: str, seconds: str | None) -> Iterator[str]:
    if not seconds or not seconds.isdecimal() or float(seconds) <= ANSWER_TIMEOUT:
        yield f"{what} is {seconds or 'not set'}, and an answer may take {ANSWER_TIMEOUT:.0f} s"


def _proxies(manifests: Manifests) -> Iterator[str]:
    environment = manifests.environment(manifests.workload("edge").containers[0])
    if not environment.get("MUHGPT_EDGE_TRUSTED_PROXIES"):
        yield "edge counts all clients as one: MUHGPT_EDGE_TRUSTED_PROXIES is not set"
