"""The network lets through what docs/kubernetes.md lists and nothing else."""

from __future__ import annotations

import ipaddress

import pytest

from muhgpt.options.v1 import callers_pb2
from services.inference.domain import addresses
from tests.deploy import arrows
from tests.deploy.checks import policies
from tests.deploy.checks.policies import Peer
from tests.deploy.rendered import Manifests

EXTREMES = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    *("fc00::/7", "fe80::/10", "ff00::/8", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "2000::/3", "1.0.0.0/8"),
]


def test_what_is_allowed_is_exactly_the_table(overlay: str, manifests: Manifests) -> None:
    found = policies.arrows(manifests, arrows.peers(manifests), arrows.PORTS)
    assert sorted(found) == sorted(arrows.expected(overlay, manifests))


def test_names_are_asked_over_udp_too(manifests: Manifests) -> None:
    dns = arrows.NEIGHBOURS[0]
    for pod in policies.pods(manifests):
        assert policies.allowed(manifests, pod, dns, 53, "UDP")
        assert not policies.allowed(manifests, pod, arrows.NEIGHBOURS[1], 53, "UDP")


def test_a_port_that_a_policy_names_is_one_that_its_pods_have(manifests: Manifests) -> None:
    assert list(policies.unknown_ports(manifests)) == []


def test_only_roles_that_methods_let_in_can_reach_a_service(manifests: Manifests) -> None:
    values = callers_pb2.Caller.DESCRIPTOR.values_by_name
    roles = {name.removeprefix("CALLER_").lower() for name in values} - {"unspecified"}
    for service in ("auth", "quota", "inference"):
        target = next(pod for pod in policies.pods(manifests) if pod.name == service)
        reaching = {pod.name for pod in arrows.peers(manifests) if policies.allowed(manifests, pod, target, 7000)}
        assert reaching - {service} == roles


@pytest.mark.parametrize("network", EXTREMES)
def test_inference_reaches_no_address_that_its_own_guard_refuses(manifests: Manifests, network: str) -> None:
    inference = next(pod for pod in policies.pods(manifests) if pod.name == "inference")
    block = ipaddress.ip_network(network)
    edges = [block.network_address, block.broadcast_address, block.network_address + block.num_addresses // 2]
    for edge in [*edges, *(each for each in (_step(edges[0], -1), _step(edges[1], 1)) if each is not None)]:
        outside = Peer("somewhere", address=str(edge))
        if policies.allowed(manifests, inference, outside, 443):
            assert addresses.is_public(edge), f"{edge} is let through"


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450::8"])
def test_inference_reaches_the_public_internet_for_images(manifests: Manifests, address: str) -> None:
    inference = next(pod for pod in policies.pods(manifests) if pod.name == "inference")
    assert addresses.is_public(ipaddress.ip_address(address))
    assert policies.allowed(manifests, inference, Peer("somewhere", address=address), 443)
    assert not policies.allowed(manifests, inference, Peer("somewhere", address=address), 8080)


def _step(address: addresses.Address, by: int) -> addresses.Address | None:
    try:
        return address + by
    except ipaddress.AddressValueError:
        return None
