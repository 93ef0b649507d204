"""Mistakes in what the manifests say to the services."""

from __future__ import annotations

from tests.deploy.checks import images, probes, security, settings, shutdown, tls
from tests.deploy.mutations.mutation import Mutation, config, container, drop, spec

PODS = [
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
