"""Which hosts images may be fetched from: the public internet, and what the operator has listed besides.

A client who names a URL chooses where this service connects to, so every spelling of an inner address is refused
(server-side request forgery). The registries: https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What Python's ipaddress takes for global, in some of its versions, and is not for us.
INNER_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "100.64.0.0/10",  # behind a provider's NAT (RFC 6598); Alibaba's metadata service is there
        "168.63.129.16/32",  # Azure's own services, in every virtual machine
        "192.0.0.0/24",  # protocol assignments (RFC 6890); Oracle's metadata service is there
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "198.18.0.0/15",  # benchmarks (RFC 2544)
    )
]
GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")  # the only part that is assigned for the internet (RFC 4291)
INNER_V6 = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them, which hides an IPv4 address (RFC 4380)
        "2001:db8::/32",  # documentation (RFC 3849)
        "3fff::/20",  # documentation (RFC 9637)
    )
]
SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")  # RFC 3056
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.IGNORECASE)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet; of one that carries an IPv4 address, whether that does."""
    if isinstance(address, IPv6Address):
        if (carried := _carried(address)) is not None:
            return is_public(carried)
        return address in GLOBAL_V6 and address.is_global and not any(address in network for network in INNER_V6)
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return not any(address in network for network in INNER_V4)


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in SIX_TO_FOUR:
        return address.sixtofour
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None


def literal(host: str) -> Address | None:
    """A host that is an address, in the usual spelling; None for names. Raises ValueError for any other spelling.

    Such as 2130706433, 0177.0.0.1 and 0x7f.1, which the system's resolver reads as 127.0.0.1: by the rule that browsers
    go by, a host whose last label is a number is an IPv4 address or nothing (https://url.spec.whatwg.org/#host-parsing).
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2]
        if ":" in host or not last or NUMBER.fullmatch(last):
            raise ValueError("not an address in its usual spelling") from None
        return None


@dataclass(frozen=True)
class AllowList:
    """Hosts and networks that the operator trusts with requests of this service: on any port, whatever they are."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> AllowList:
        """Reads "images.internal,10.1.0.0/16,::1". Raises ValueError that names the wrong entry."""
        hosts, networks = set(), []
        for place, entry in enumerate(filter(None, (item.strip() for item in text.split(","))), 1):
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", entry):
                    raise ValueError(f"entry {place} is neither a host's name nor a network") from None
                hosts.add(entry.lower())
        return cls(frozenset(hosts), tuple(networks))

    def has_host(self, host: str) -> bool:
        """Whether this name is trusted wherever it leads."""
        return host.lower().rstrip(".") in self.hosts

    def has(self, address: Address) -> bool:
        """Whether this very address is trusted."""
        return any(address in network for network in self.networks if network.version == address.version)
