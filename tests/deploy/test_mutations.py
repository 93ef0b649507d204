"""A check that cannot fail checks nothing: each mistake made on purpose is found, and named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy import arrows
from tests.deploy.checks import policies
from tests.deploy.conftest import rendered
from tests.deploy.mutations import entrance, pods, production, references
from tests.deploy.mutations.mutation import Change, Mutation, drop, spec
from tests.deploy.rendered import Manifests


@pytest.mark.parametrize(
    "mutation",
    [*references.CLUSTER, *pods.PODS, *entrance.ENTRANCE, *production.PRODUCTION],
    ids=lambda mutation: mutation.what,
)
def test_a_mistake_is_found(mutation: Mutation) -> None:
    manifests = rendered(mutation.overlay)
    assert mutation.check.problems(manifests) == []
    mutation.change(manifests)
    assert mutation.words in "\n".join(mutation.check.problems(manifests))


def policy(manifests: Manifests, name: str) -> dict[str, Any]:
    return spec(manifests, "NetworkPolicy", name)


# What is changed, and an arrow that appears or goes.
REWIRED = [
    ("no default", lambda m: drop(m, "NetworkPolicy", "default-deny"), ("stranger", "operator", 22)),
    ("no edge", lambda m: policy(m, "quota")["ingress"][0]["from"].pop(0), ("edge", "quota", 7000)),
    ("a door too many", lambda m: policy(m, "metrics")["ingress"][0].pop("ports"), ("prometheus", "auth", 7000)),
    ("everybody", lambda m: policy(m, "edge")["ingress"][0].pop("from"), ("stranger", "edge", 8000)),
    ("every namespace", lambda m: policy(m, "gateway")["ingress"][0]["from"].append({"namespaceSelector": {}}), None),
    ("the inside", lambda m: policy(m, "inference")["egress"][0]["to"][0]["ipBlock"].pop("except"), None),
    ("no scraper", lambda m: policy(m, "metrics").update(ingress=[]), ("prometheus", "auth", 9090)),
    ("a misspelt port", lambda m: policy(m, "auth")["ingress"][0]["ports"][0].update(port="grcp"), None),
    (
        "another's database",
        lambda m: (
            policy(m, "to-auth-db")["podSelector"].update(matchLabels={}),
            policy(m, "auth-db")["ingress"][0]["from"][0]["podSelector"].update(matchLabels={}),
        ),
        ("quota", "auth-db", 5432),
    ),
    ("no DNS", lambda m: drop(m, "NetworkPolicy", "dns"), ("edge", "dns", 53)),
]


@pytest.mark.parametrize(("change", "arrow"), [each[1:] for each in REWIRED], ids=[each[0] for each in REWIRED])
def test_a_rewired_network_is_found(change: Change, arrow: policies.Arrow | None) -> None:
    manifests = rendered("production")
    expected = arrows.expected("production", manifests)
    before = policies.arrows(manifests, arrows.peers(manifests), arrows.PORTS)
    change(manifests)
    after = policies.arrows(manifests, arrows.peers(manifests), arrows.PORTS)
    assert before == expected
    assert after != expected
    if arrow is not None:
        assert arrow in after ^ expected


def test_a_port_that_no_pod_has_is_found() -> None:
    manifests = rendered("production")
    policy(manifests, "auth")["ingress"][0]["ports"][0].update(port="grcp")
    assert list(policies.unknown_ports(manifests)) == ["NetworkPolicy auth: Deployment auth has no port grcp"]
