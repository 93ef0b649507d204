"""Who a cost is charged to: an account, or the source address of a request without a valid key."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from servicekit.errors import StartupError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LOCAL = "local"  # the peer of a Unix socket has no address
MAX_HOPS = 16  # proxies in a row that are followed; a longer list is the client's invention
IPV6_PREFIX = 64  # bits: one customer of a provider has at least this many addresses to choose from


class Sender(NamedTuple):
    """An account by its id, or a source address as `Sources` writes it."""

    kind: Literal["account", "source"]
    name: str

    @classmethod
    def account(cls, account_id: str) -> Sender:
        """The sender of a request with a valid key."""
        return cls("account", account_id)

    @classmethod
    def source(cls, address: str) -> Sender:
        """The sender of a request without one."""
        return cls("source", address)


class Sources:
    """Finds a request's source address. Trusted proxies name it in a header; anything else names itself.

    Only one of the two headers is read: a proxy that sets one passes the other on as the client wrote it.
    """

    def __init__(self, trusted: Sequence[Network] = (), header: str = "x-forwarded-for") -> None:
        self._trusted = tuple(trusted)
        self._header = header.encode()

    @classmethod
    def parse(cls, trusted: str | None, header: str = "x-forwarded-for") -> Sources:
        """Addresses and networks, separated by commas. Raises StartupError."""
        networks = []
        for place, text in enumerate(filter(None, (part.strip() for part in (trusted or "").split(","))), 1):
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError:
                raise StartupError(
                    f"entry {place} of MUHGPT_EDGE_TRUSTED_PROXIES is neither an address nor a network;"
                    " write it as 10.0.0.7 or 10.1.0.0/16"
                ) from None
        return cls(networks, header)

    def trusts(self, peer: str) -> bool:
        """Whether this peer is a proxy that speaks for many clients."""
        address = _parse(peer)
        return address is not None and self._is_trusted(address)

    def of(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]] = ()) -> str:
        """The source of a request: the rightmost address of the header that is not a trusted proxy's, or the peer."""
        nearest = _parse(peer or "")
        if nearest is None:
            return LOCAL
        if self._trusted and self._is_trusted(nearest):
            for hop in self._hops(headers):
                address = _parse(hop)
                if address is None:  # hidden or malformed: the proxy that said so is all that is known
                    break
                nearest = address
                if not self._is_trusted(address):
                    break
        return shown(nearest)

    def _hops(self, headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
        """The header's addresses, the nearest first."""
        lines = [value.decode("latin-1") for name, value in headers if name == self._header]
        hops = ",".join(lines).rsplit(",", MAX_HOPS)[-MAX_HOPS:] if lines else []
        if self._header == b"forwarded":
            hops = [_forwarded_for(hop) for hop in hops]
        return hops[::-1]

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def shown(address: Address) -> str:
    """How an address is counted: IPv6 by its first 64 bits."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> Address | None:
    """An address, without the port and brackets that proxies may add; IPv4 in its IPv6 form is IPv4."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _forwarded_for(element: str) -> str:
    """`for=192.0.2.43;proto=https` -> `192.0.2.43` (RFC 7239 section 4)."""
    for pair in element.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value
    return ""
