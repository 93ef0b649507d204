"""Where a request goes: the server (Origin), and its address in the forms that a request names it."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
# These four stay in a name by IDNA 2008 and change by IDNA 2003, which Python's codec follows: the key must not go to
# another server than the list names.
DEVIATIONS = re.compile("[ßς\u200c\u200d]")
STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
PATH_SAFE = "%/:@!$&'()*+,;=-._~"


class Origin(NamedTuple):
    """A server. `host` is a name or an IP address without brackets, in ASCII."""

    secure: bool
    host: str
    port: int

    @property
    def tls_name(self) -> str | None:
        """The name that the certificate must be for; None: no TLS."""
        return self.host.rstrip(".") if self.secure else None


class Address(NamedTuple):
    """A URL, split: the server, the Host header's value, the request's target."""

    origin: Origin
    host_header: bytes
    target: bytes


def address_of(url: str) -> Address:
    """Raises ValueError for what is no http or https URL, or holds user name or password."""
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        raise ValueError("not an http or https URL")
    host, default = _host(parts.hostname), DEFAULT_PORTS[parts.scheme]
    port = default if parts.port is None else parts.port
    named = f"[{host}]" if ":" in host else host.rstrip(".")
    target = _quoted(parts.path or "/", PATH_SAFE) + (
        f"?{_quoted(parts.query, PATH_SAFE + '?')}" if parts.query else ""
    )
    host_header = named if port == default else f"{named}:{port}"
    return Address(Origin(parts.scheme == "https", host, port), host_header.encode(), target.encode())


def is_ip(host: str) -> bool:
    """Whether a host is an IP address. Raises ValueError for 127.1, 2130706433 and the like, which name one unseen."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if re.fullmatch(r"[0-9.]+|0x[0-9a-f]+", host):
            raise ValueError("not a canonical IPv4 address") from None
        return False
    return True


def _host(host: str) -> str:
    if ":" in host:
        address = ipaddress.IPv6Address(host)
        if address.scope_id is not None:
            raise ValueError("an address with a zone")
        return address.compressed
    if not host.isascii():
        if DEVIATIONS.search(host):
            raise ValueError("write this host's name in its xn-- form")
        host = host.encode("idna").decode()
    if not HOST.fullmatch(host):
        raise ValueError("not a host's name")
    return host


def _quoted(text: str, safe: str) -> str:
    """What is quoted already stays; nothing that is left could end a request line."""
    return quote(STRAY_PERCENT.sub("%25", text), safe=safe)
