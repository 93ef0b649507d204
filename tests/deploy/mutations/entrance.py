"""Mistakes in how the world comes in."""

from __future__ import annotations

from typing import Any

from tests.deploy.checks import entrance
from tests.deploy.checks.entrance import NGINX
from tests.deploy.mutations.mutation import Mutation, config, drop, spec
from tests.deploy.rendered import Manifests


def rule(manifests: Manifests) -> dict[str, Any]:
    """The HTTPRoute's one rule."""
    found: dict[str, Any] = spec(manifests, "HTTPRoute", "edge")["rules"][0]
    return found


def notes(manifests: Manifests) -> dict[str, Any]:
    """The Ingress's annotations."""
    found: dict[str, Any] = manifests.get("Ingress", "edge")["metadata"]["annotations"]
    return found


ENTRANCE = [
    Mutation(
        "a route to another port", entrance, lambda m: rule(m)["backendRefs"][0].update(port=80), "no Service edge with"
    ),
    Mutation(
        "a route to nobody", entrance, lambda m: rule(m)["backendRefs"][0].update(name="egde"), "no Service egde with"
    ),
    Mutation("a route without a gateway", entrance, lambda m: drop(m, "Gateway", "edge"), "there is no Gateway edge"),
    Mutation(
        "a route in plaintext",
        entrance,
        lambda m: spec(m, "HTTPRoute", "edge")["parentRefs"][0].update(sectionName="http"),
        "is plaintext",
    ),
    Mutation(
        "a route of every listener",
        entrance,
        lambda m: spec(m, "HTTPRoute", "edge")["parentRefs"][0].pop("sectionName"),
        "with a listener None",
    ),
    Mutation(
        "a route for another host",
        entrance,
        lambda m: spec(m, "HTTPRoute", "edge").update(hostnames=["other.example.com"]),
        "have a listener for api.example.com",
    ),
    Mutation("a route for every path", entrance, lambda m: rule(m).pop("matches"), "HTTPRoute serves"),
    Mutation("a gateway that gives up early", entrance, lambda m: rule(m).pop("timeouts"), "request is not set"),
    Mutation(
        "a gateway that gives up on the edge",
        entrance,
        lambda m: rule(m)["timeouts"].update(backendRequest="600s"),
        "backendRequest is 600, and an answer may take 600 s",
    ),
    Mutation(
        "a gateway without certificate",
        entrance,
        lambda m: m.get("Gateway", "edge")["metadata"].pop("annotations"),
        "nobody issues",
    ),
    Mutation(
        "a gateway that is not believed",
        entrance,
        lambda m: config(m, "edge-settings-")["data"].pop("MUHGPT_EDGE_TRUSTED_PROXIES"),
        "counts all clients as one",
    ),
    Mutation("no way in", entrance, lambda m: drop(m, "HTTPRoute", "edge"), "there are 0 ways in"),
    Mutation(
        "an ingress that is not believed",
        entrance,
        lambda m: config(m, "edge-settings-")["data"].pop("MUHGPT_EDGE_TRUSTED_PROXIES"),
        "counts all clients as one",
        "ingress",
    ),
    Mutation(
        "an ingress that gives up early",
        entrance,
        lambda m: notes(m).pop(NGINX + "proxy-read-timeout"),
        "proxy-read-timeout is not set",
        "ingress",
    ),
    Mutation(
        "an ingress that buffers",
        entrance,
        lambda m: notes(m).update({NGINX + "proxy-buffering": "on"}),
        "proxy-buffering is not off",
        "ingress",
    ),
    Mutation(
        "an ingress for more",
        entrance,
        lambda m: spec(m, "Ingress", "edge")["rules"][0]["http"]["paths"][0].update(path="/"),
        "Ingress serves",
        "ingress",
    ),
]
