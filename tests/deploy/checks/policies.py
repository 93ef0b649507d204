"""Which connections the NetworkPolicies allow, worked out as a network plugin does, for every pair and port.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.deploy.rendered import NAMESPACE, Document, Manifests, selects

NAMESPACE_NAME = "kubernetes.io/metadata.name"
Arrow = tuple[str, str, int]


@dataclass(frozen=True)
class Peer:
    """A pod, or an address outside (then without labels)."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    ports: dict[str, int] = field(default_factory=dict, hash=False)  # by name
    address: str | None = None


def pods(manifests: Manifests) -> list[Peer]:
    """The pods of the manifests, and those that CloudNativePG makes."""
    found = [Peer(each.name, NAMESPACE, each.labels, each.ports) for each in manifests.workloads]
    for cluster in manifests.of("Cluster"):
        name = cluster["metadata"]["name"]
        found.append(Peer(name, NAMESPACE, {"cnpg.io/cluster": name}, {"postgresql": 5432, "status": 8000}))
    return found


def arrows(manifests: Manifests, peers: Sequence[Peer], ports: Sequence[int]) -> set[Arrow]:
    """Every (from, to, TCP port; 53 also UDP) that is allowed between different peers of which one is ours."""
    return {
        (source.name, target.name, port)
        for source in peers
        for target in peers
        for port in ports
        if source != target and NAMESPACE in (source.namespace, target.namespace)
        if allowed(manifests, source, target, port)
    }


def allowed(manifests: Manifests, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is let out and let in."""
    policies = manifests.of("NetworkPolicy")
    out = _lets(policies, source, target, target, port, protocol, "Egress")
    return out and _lets(policies, target, source, target, port, protocol, "Ingress")


def _lets(
    policies: list[Document], ours: Peer, other: Peer, target: Peer, port: int, protocol: str, direction: str
) -> bool:
    """One side: everything is let through for a pod that no policy of the direction selects."""
    if ours.namespace != NAMESPACE:
        return True
    selecting = [
        each["spec"]
        for each in policies
        if selects(each["spec"]["podSelector"], ours.labels) and direction in each["spec"]["policyTypes"]
    ]
    if not selecting:
        return True
    rules = [rule for spec in selecting for rule in spec.get(direction.lower(), [])]
    side = "from" if direction == "Ingress" else "to"
    return any(_peer(rule.get(side), other) and _port(rule.get("ports"), target, port, protocol) for rule in rules)


def _peer(choices: list[Document] | None, other: Peer) -> bool:
    return not choices or any(_chosen(each, other) for each in choices)


def _chosen(choice: Document, other: Peer) -> bool:
    if "ipBlock" in choice:
        return other.address is not None and _in_block(choice["ipBlock"], other.address)
    if other.address is not None:
        return False
    if "namespaceSelector" in choice:
        if not selects(choice["namespaceSelector"], {NAMESPACE_NAME: other.namespace}):
            return False
    elif other.namespace != NAMESPACE:
        return False
    return "podSelector" not in choice or selects(choice["podSelector"], other.labels)


def _in_block(block: Document, address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return _within(ip, block["cidr"]) and not any(_within(ip, each) for each in block.get("except", []))


def _within(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    block = ipaddress.ip_network(network)
    return ip.version == block.version and ip in block


def _port(choices: list[Document] | None, target: Peer, port: int, protocol: str) -> bool:
    for each in choices or ():
        wanted = each.get("port")
        number = target.ports.get(wanted) if isinstance(wanted, str) else wanted
        if each.get("protocol", "TCP") == protocol and number in (None, port) and not (wanted and number is None):
            return True
    return not choices


def unknown_ports(manifests: Manifests) -> Iterator[str]:
    """Ports that policies name and the selected pods do not have: such a rule allows nothing."""
    for policy in manifests.of("NetworkPolicy"):
        spec = policy["spec"]
        for rule in spec.get("ingress", []):
            for port in rule.get("ports", []):
                for workload in manifests.workloads:
                    named = selects(spec["podSelector"], workload.labels) and isinstance(port.get("port"), str)
                    if named and port["port"] not in workload.ports:
                        yield f"NetworkPolicy {policy['metadata']['name']}: {workload} has no port {port['port']}"
