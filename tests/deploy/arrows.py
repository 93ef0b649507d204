"""The connections that there are to be, written down: what checks/policies.py works out is compared with this."""

from __future__ import annotations

from tests.deploy.checks.policies import Arrow, Peer, pods
from tests.deploy.rendered import NAME, Manifests

PORTS = (22, 53, 80, 443, 5432, 6443, 7000, 7001, 8000, 8089, 8443, 9090)

# Neighbours: those that may talk to us, those that we may talk to, and those that may do neither.
NEIGHBOURS = [
    Peer("dns", "kube-system", {"k8s-app": "kube-dns"}, {"dns": 53}),
    Peer("kube-system pod", "kube-system", {"k8s-app": "other"}),
    Peer("prometheus", "monitoring", {NAME: "prometheus"}),
    Peer("grafana", "monitoring", {NAME: "grafana"}),
    Peer("ingress controller", "ingress-nginx", {NAME: "ingress-nginx"}),
    Peer(
        "gateway",
        "envoy-gateway-system",
        {
            "gateway.envoyproxy.io/owning-gateway-namespace": "muhgpt",
            "gateway.envoyproxy.io/owning-gateway-name": "edge",
        },
    ),
    Peer(
        "another's gateway",
        "envoy-gateway-system",
        {
            "gateway.envoyproxy.io/owning-gateway-namespace": "default",
            "gateway.envoyproxy.io/owning-gateway-name": "edge",
        },
    ),
    Peer("cnpg operator", "cnpg-system", {NAME: "cloudnative-pg"}),
    Peer("stranger", "default", {NAME: "edge"}),  # whatever label it gives itself
    Peer("stray pod", "muhgpt", {NAME: "stray"}),  # in our namespace, and nobody's
    Peer("acme solver", "muhgpt", {"acme.cert-manager.io/http01-solver": "true"}),  # cert-manager's, for a moment
    Peer("internet", address="1.1.1.1"),
    Peer("internet, IPv6", address="2606:4700:4700::1111"),
    Peer("private network", address="10.20.30.40"),
    Peer("metadata service", address="169.254.169.254"),
]

REQUEST = {("edge", "auth", 7000), ("edge", "quota", 7000), ("edge", "inference", 7000)}  # ARCHITECTURE.md
OPERATOR = {("operator", name, 7000) for name in ("auth", "quota", "inference")} | {("operator", "edge", 8000)}
METRICS = {("prometheus", name, 9090) for name in ("auth", "quota", "inference", "edge")}
PUBLIC = {("inference", net, port) for net in ("internet", "internet, IPv6") for port in (80, 443)}
ALWAYS = REQUEST | OPERATOR | METRICS | PUBLIC

POSTGRES = {("auth", "postgres", 5432), ("quota", "postgres", 5432)}
BOOTSTRAP_PORTS = (443, 6443, 8443)  # of the Kubernetes API, wherever it is
INGRESS = {("ingress controller", "edge", 8000), ("ingress controller", "acme solver", 8089)}
GATEWAY = {("gateway", "edge", 8000), ("gateway", "acme solver", 8089)}
VLLM = {("inference", "vllm", 8000), ("vllm", "internet", 443), ("vllm", "internet, IPv6", 443)}
CNPG = {
    *{(name, f"{name}-db", 5432) for name in ("auth", "quota")},
    *{("cnpg operator", f"{name}-db", port) for name in ("auth", "quota") for port in (5432, 8000)},
}


def peers(manifests: Manifests) -> list[Peer]:
    """Everybody that is compared."""
    return [*pods(manifests), *NEIGHBOURS]


def expected(overlay: str, manifests: Manifests) -> set[Arrow]:
    """The arrows of an overlay or a variant of production. DNS is everybody's."""
    outside = [each.name for each in NEIGHBOURS if each.namespace != "muhgpt"]
    dns = {(each.name, "dns", 53) for each in peers(manifests) if each.namespace == "muhgpt"}
    if overlay == "local":
        # Only ports can be named, so the Job may knock at these ports of everybody; ours let nobody in there.
        return ALWAYS | dns | POSTGRES | {("bootstrap", name, port) for name in outside for port in BOOTSTRAP_PORTS}
    if overlay == "own-database":
        return ALWAYS | dns | GATEWAY | {(name, "private network", 5432) for name in ("auth", "quota")}
    api = {(f"{name}-db", other, port) for name in ("auth", "quota") for other in outside for port in (443, 6443)}
    entrance = INGRESS if overlay == "ingress" else GATEWAY
    return ALWAYS | dns | entrance | CNPG | api | (VLLM if overlay == "vllm" else set())
