"""A check that cannot fail checks nothing: each mistake made on purpose is found, and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from tests.deploy import arrows
from tests.deploy.checks import (
    images,
    policies,
    probes,
    references,
    schemas,
    security,
    selectors,
    settings,
    shutdown,
    tls,
)
from tests.deploy.conftest import rendered
from tests.deploy.rendered import NAME, Manifests

Change = Callable[[Manifests], Any]


@dataclass(frozen=True)
class Mutation:
    """A mistake, the check that must find it, and words of what it must say."""

    what: str
    check: ModuleType
    change: Change
    words: str
    overlay: str = "production"


def container(manifests: Manifests, name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifests.workload(name).pod["containers"][0]
    return found


def spec(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifests.get(kind, name)["spec"]
    return found


def config(manifests: Manifests, beginning: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in manifests.of("ConfigMap") if each["metadata"]["name"].startswith(beginning)
    )
    return found


def drop(manifests: Manifests, kind: str, name: str) -> None:
    manifests.documents.remove(manifests.get(kind, name))


def relabel(manifests: Manifests, name: str) -> None:
    manifests.workload(name).template["metadata"]["labels"][NAME] = "other"


MUTATIONS = [
    Mutation("a misspelt field", schemas, lambda m: container(m, "edge").update(imagePullPolicyy="x"), "unexpected"),
    Mutation(
        "a text for a number", schemas, lambda m: spec(m, "Service", "edge")["ports"][0].update(port="http"), "port"
    ),
    Mutation("a kind that is not", schemas, lambda m: m.get("Ingress", "edge").update(kind="Ingres"), "there is no"),
    Mutation(
        "a withdrawn API", schemas, lambda m: m.get("Ingress", "edge").update(apiVersion="extensions/v1beta1"), "no"
    ),
    Mutation("other labels on pods", selectors, lambda m: relabel(m, "auth"), "does not select its own pods"),
    Mutation(
        "a Service of nobody",
        selectors,
        lambda m: spec(m, "Service", "quota")["selector"].update({NAME: "qouta"}),
        "selects 0 workloads",
    ),
    Mutation(
        "a target port that is not",
        selectors,
        lambda m: spec(m, "Service", "auth")["ports"][0].update(targetPort="rpc"),
        "no port named 'rpc'",
    ),
    Mutation(
        "a headless Service with another port",
        selectors,
        lambda m: spec(m, "Service", "auth")["ports"][0].update(port=80),
        "headless",
    ),
    Mutation(
        "a budget of nobody",
        selectors,
        lambda m: spec(m, "PodDisruptionBudget", "edge")["selector"]["matchLabels"].update({NAME: "x"}),
        "edge has no PodDisruptionBudget",
    ),
    Mutation(
        "an autoscaler of nobody",
        selectors,
        lambda m: spec(m, "HorizontalPodAutoscaler", "quota")["scaleTargetRef"].update(name="quote"),
        "no Deployment quote",
    ),
    Mutation(
        "replicas beside an autoscaler",
        selectors,
        lambda m: spec(m, "Deployment", "edge").update(replicas=2),
        "overrule its autoscaler",
    ),
    Mutation(
        "an Ingress to another port",
        selectors,
        lambda m: spec(m, "Ingress", "edge")["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"].update(
            name="https"
        ),
        "no Service edge with port",
    ),
    Mutation(
        "a host without certificate",
        selectors,
        lambda m: spec(m, "Ingress", "edge")["rules"][0].update(host="other.example.com"),
        "have certificates for",
    ),
    Mutation(
        "an account that is not",
        selectors,
        lambda m: drop(m, "ServiceAccount", "edge"),
        "there is no ServiceAccount edge",
    ),
    Mutation("a role that is not", selectors, lambda m: drop(m, "Role", "bootstrap"), "there is no Role", "local"),
    Mutation(
        "another namespace",
        selectors,
        lambda m: m.get("Service", "auth")["metadata"].update(namespace="default"),
        "not in the namespace",
    ),
    Mutation("no model list", references, lambda m: m.documents.remove(config(m, "models-")), "no ConfigMap models-"),
    Mutation(
        "no settings",
        references,
        lambda m: m.documents.remove(config(m, "edge-settings-")),
        "no ConfigMap edge-settings-",
    ),
    Mutation("no certificate", references, lambda m: drop(m, "Certificate", "auth"), "there is no Secret auth-tls"),
    Mutation(
        "a key that a Secret has not",
        references,
        lambda m: container(m, "auth")["env"][0]["valueFrom"]["secretKeyRef"].update(key="address"),
        "has no key address",
    ),
    Mutation(
        "a file of a key that is not",
        references,
        lambda m: m.workload("edge").pod["volumes"][0]["secret"].update(items=[{"key": "x", "path": "x"}]),
        "edge-tls has no key x",
    ),
    Mutation(
        "a volume that is not",
        references,
        lambda m: container(m, "edge")["volumeMounts"][0].update(name="keys"),
        "mounts keys",
    ),
    Mutation(
        "a Secret in the manifests",
        references,
        lambda m: m.documents.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}),
        "Secret x is in the manifests",
    ),
    Mutation(
        "an unknown setting",
        settings,
        lambda m: config(m, "edge-settings-")["data"].update(MUHGPT_EDGE_DRAIN="30"),
        "MUHGPT_EDGE_DRAIN is no setting of edge",
    ),
    Mutation(
        "another service's setting",
        settings,
        lambda m: config(m, "auth-settings-")["data"].update(MUHGPT_QUOTA_LEASE="10"),
        "MUHGPT_QUOTA_LEASE is no setting of auth",
    ),
    Mutation(
        "a setting out of range",
        settings,
        lambda m: config(m, "quota-settings-")["data"].update(MUHGPT_QUOTA_DRAIN_TIMEOUT="-1"),
        "MUHGPT_QUOTA_DRAIN_TIMEOUT: Input should be greater",
    ),
    Mutation(
        "a required setting that is missing",
        settings,
        lambda m: config(m, "edge-settings-")["data"].pop("MUHGPT_EDGE_QUOTA_ADDRESS"),
        "MUHGPT_EDGE_QUOTA_ADDRESS: Field required",
    ),
    Mutation(
        "no database", settings, lambda m: container(m, "quota").pop("env"), "MUHGPT_QUOTA_DATABASE_URL: Field required"
    ),
    Mutation(
        "a model list where it is not mounted",
        settings,
        lambda m: config(m, "quota-settings-")["data"].update(MUHGPT_QUOTA_MODELS_FILE="/etc/models.yaml"),
        "models.yaml is not mounted there",
    ),
    Mutation(
        "no certificate where it is read",
        settings,
        lambda m: config(m, "auth-settings-")["data"].update(MUHGPT_AUTH_TLS_DIRECTORY="/etc/tls"),
        "tls.key is not mounted there",
    ),
    Mutation(
        "an address of nobody",
        settings,
        lambda m: config(m, "edge-settings-")["data"].update(MUHGPT_EDGE_AUTH_ADDRESS="auth:7007"),
        "no such Service with that port",
    ),
    Mutation(
        "a virtual address in front of replicas",
        settings,
        lambda m: spec(m, "Service", "auth").pop("clusterIP"),
        "not headless",
    ),
    Mutation(
        "a probe of another port",
        probes,
        lambda m: container(m, "auth")["livenessProbe"]["grpc"].update(port=7000),
        "not its port `health`",
    ),
    Mutation(
        "liveness that ends with readiness",
        probes,
        lambda m: container(m, "auth")["livenessProbe"]["grpc"].update(service="readiness"),
        "asks for the health of 'readiness'",
    ),
    Mutation(
        "a probe of a path that is not",
        probes,
        lambda m: container(m, "edge")["readinessProbe"]["httpGet"].update(path="/ready"),
        "which the edge does not serve",
    ),
    Mutation(
        "a probe of a port that is not",
        probes,
        lambda m: container(m, "edge")["livenessProbe"]["httpGet"].update(port="api"),
        "which it has not",
    ),
    Mutation("no readiness", probes, lambda m: container(m, "quota").pop("readinessProbe"), "has no readinessProbe"),
    Mutation(
        "listening elsewhere",
        probes,
        lambda m: config(m, "inference-settings-")["data"].update(MUHGPT_INFERENCE_HEALTH_LISTEN="0.0.0.0:7002"),
        "listens on 0.0.0.0:7002",
    ),
    Mutation(
        "listening to itself only",
        probes,
        lambda m: config(m, "auth-settings-")["data"].update(MUHGPT_AUTH_LISTEN="127.0.0.1:7000"),
        "listens on 127.0.0.1:7000",
    ),
    Mutation("a port unnamed", probes, lambda m: container(m, "quota")["ports"].pop(), "has the ports"),
    Mutation(
        "a longer drain than its grace",
        shutdown,
        lambda m: config(m, "edge-settings-")["data"].update(MUHGPT_EDGE_DRAIN_TIMEOUT="600"),
        "are less than preStop",
    ),
    Mutation("no pause", shutdown, lambda m: container(m, "edge").pop("lifecycle"), "preStop waits 0 s"),
    Mutation(
        "replicas that go first",
        shutdown,
        lambda m: spec(m, "Deployment", "auth")["strategy"]["rollingUpdate"].update(maxUnavailable=1),
        "fewer replicas",
    ),
    Mutation(
        "replicas that go before the new is known",
        shutdown,
        lambda m: spec(m, "Deployment", "auth").update(minReadySeconds=5),
        "before edges know",
    ),
    Mutation(
        "a namespace that enforces nothing",
        security,
        lambda m: m.get("Namespace", "muhgpt")["metadata"]["labels"].pop("pod-security.kubernetes.io/enforce"),
        "does not enforce",
    ),
    Mutation(
        "root",
        security,
        lambda m: m.workload("auth").pod["securityContext"].update(runAsNonRoot=False),
        "may run as root",
    ),
    Mutation(
        "capabilities",
        security,
        lambda m: container(m, "edge")["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
        "keeps capabilities",
    ),
    Mutation(
        "privileges to gain",
        security,
        lambda m: container(m, "edge")["securityContext"].pop("allowPrivilegeEscalation"),
        "may gain privileges",
    ),
    Mutation(
        "a root to write to",
        security,
        lambda m: container(m, "quota")["securityContext"].update(readOnlyRootFilesystem=False),
        "may write",
    ),
    Mutation(
        "no seccomp", security, lambda m: m.workload("auth").pod["securityContext"].pop("seccompProfile"), "no seccomp"
    ),
    Mutation(
        "a folder of the host",
        security,
        lambda m: m.workload("auth").pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "volume x is of a kind",
    ),
    Mutation(
        "a token for the Kubernetes API",
        security,
        lambda m: m.workload("edge").pod.update(automountServiceAccountToken=True),
        "automountServiceAccountToken is True",
    ),
    Mutation("no bound of memory", security, lambda m: container(m, "edge")["resources"].pop("limits"), "no bound"),
    Mutation(
        "an image that nobody builds",
        images,
        lambda m: container(m, "edge").update(image="registry.example.com/muhgpt/console:1"),
        "no target console",
    ),
    Mutation(
        "an image of another service",
        images,
        lambda m: container(m, "edge").update(image="registry.example.com/muhgpt/auth:1"),
        "the image of auth runs as edge",
    ),
    Mutation(
        "an image that the overlay forgot", images, lambda m: container(m, "edge").update(image="muhgpt/edge"), "tag"
    ),
    Mutation(
        "a command that is not",
        images,
        lambda m: m.workload("auth").pod["initContainers"][0].update(command=["python", "-m", "services.auth.migrat"]),
        "no module services.auth.migrat",
    ),
    Mutation(
        "another service's command",
        images,
        lambda m: (
            m.workload("auth").pod["initContainers"][0].update(command=["python", "-m", "services.quota.migrate"])
        ),
        "no business",
    ),
    Mutation(
        "a certificate of another name",
        tls,
        lambda m: spec(m, "Certificate", "quota").update(dnsNames=["quota.muhgpt.svc"]),
        "not quota.muhgpt.internal",
    ),
    Mutation(
        "a certificate for servers only",
        tls,
        lambda m: spec(m, "Certificate", "edge").update(usages=["server auth"]),
        "not for servers and clients",
    ),
    Mutation("an issuer that is not", tls, lambda m: drop(m, "Issuer", "muhgpt"), "there is no Issuer muhgpt"),
    Mutation(
        "another role's certificate",
        tls,
        lambda m: m.workload("edge").pod["volumes"][0]["secret"].update(secretName="operator-tls"),
        "mounts ['operator-tls'], not edge-tls",
    ),
    Mutation(
        "plaintext",
        tls,
        lambda m: config(m, "edge-settings-")["data"].update(MUHGPT_EDGE_PLAINTEXT="true"),
        "asks for plaintext",
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
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
    ("every namespace", lambda m: policy(m, "ingress")["ingress"][0]["from"].append({"namespaceSelector": {}}), None),
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
