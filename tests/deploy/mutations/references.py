"""Mistakes in what the manifests say of each other, and in their form."""

from __future__ import annotations

from tests.deploy.checks import references, schemas, selectors
from tests.deploy.mutations.mutation import Mutation, config, container, drop, relabel, spec
from tests.deploy.rendered import NAME

CLUSTER = [
    Mutation("a misspelt field", schemas, lambda m: container(m, "edge").update(imagePullPolicyy="x"), "unexpected"),
    Mutation(
        "a text for a number", schemas, lambda m: spec(m, "Service", "edge")["ports"][0].update(port="http"), "port"
    ),
    Mutation(
        "a kind that is not",
        schemas,
        lambda m: m.get("PodDisruptionBudget", "edge").update(kind="Budget"),
        "there is no",
    ),
    Mutation(
        "a withdrawn API",
        schemas,
        lambda m: m.get("Ingress", "edge").update(apiVersion="extensions/v1beta1"),
        "no",
        "ingress",
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
        "ingress",
    ),
    Mutation(
        "a host without certificate",
        selectors,
        lambda m: spec(m, "Ingress", "edge")["rules"][0].update(host="other.example.com"),
        "have certificates for",
        "ingress",
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
]
