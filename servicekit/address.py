"""host:port as one value."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from servicekit.errors import StartupError


@dataclass(frozen=True)
class Address:
    """Where something listens. IPv6 hosts are written in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads "host:port". Raises StartupError that shows the text."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise StartupError(f"{text!r} is not an address; write host:port, for example 127.0.0.1:8000")
        return cls(host.strip("[]"), int(port))

    @property
    def loopback(self) -> bool:
        """True when nothing sent there leaves this machine, whatever name servers say."""
        return self.host == "localhost" or (self.literal and ipaddress.ip_address(self.host).is_loopback)

    @property
    def literal(self) -> bool:
        """True when the host is an IP address and no name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
