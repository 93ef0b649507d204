"""What a host's name means now."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

TIMEOUT = 10.0  # seconds: after that an answer is not waited for


class Resolver(Protocol):
    """Where addresses come from."""

    async def addresses(self, host: str) -> list[str]:
        """The IP addresses of a name, at least one. Raises OSError when it has none or nobody can tell."""
        ...


class SystemResolver:
    """The system's own: /etc/hosts and DNS, as every other program has it.

    Of a name with addresses of both families the IPv4 ones count, else each replica of a dual-stack cluster would be
    two, and `localhost` one that nobody listens on.
    """

    async def addresses(self, host: str) -> list[str]:
        """See Resolver."""
        async with asyncio.timeout(TIMEOUT):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        families = {family for family, *_ in found}
        wanted = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        addresses = sorted({str(address[0]) for family, *_, address in found if family == wanted})
        if not addresses:
            raise OSError(f"{host} has no IP address")
        return addresses
