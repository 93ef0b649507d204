"""A host's addresses, looked up again after a moment, so that a server that moves is found."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from services.inference.engines.upstream.http.origin import is_ip

DNS_TTL = 10.0  # seconds for which addresses are used again


class SocketAddress(NamedTuple):
    """What a socket connects to."""

    family: int
    address: tuple[str, int] | tuple[str, int, int, int]


Lookup = Callable[[str, int], Awaitable[Sequence[SocketAddress]]]


class _Known(NamedTuple):
    addresses: list[SocketAddress]
    until: float


class Resolver:
    """Remembers one lookup per host for DNS_TTL; concurrent ones share it. `now`: a monotonic clock."""

    def __init__(self, now: Callable[[], float], lookup: Lookup | None = None) -> None:
        self._now = now
        self._lookup = lookup or system_lookup
        self._known: dict[tuple[str, int], _Known] = {}
        self._running: dict[tuple[str, int], asyncio.Task[list[SocketAddress]]] = {}

    async def addresses(self, host: str, port: int) -> list[SocketAddress]:
        """In the order in which to try them; each call begins with another. Raises OSError or ValueError."""
        if is_ip(host):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return [SocketAddress(family, (host, port))]
        key = (host, port)
        known = self._known.get(key)
        if known is None or known.until <= self._now():
            await asyncio.shield(self._look_up(key))
            known = self._known[key]
        addresses = list(known.addresses)
        known.addresses.append(known.addresses.pop(0))  # a server of many addresses gets its share at each
        return interleaved(addresses)

    async def close(self) -> None:
        """Ends the lookups that are under way."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _look_up(self, key: tuple[str, int]) -> asyncio.Task[list[SocketAddress]]:
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(self._ask(key))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps no one waits any more
        return task

    async def _ask(self, key: tuple[str, int]) -> list[SocketAddress]:
        try:
            found = list(await self._lookup(*key))
            if not found:
                raise OSError("the name has no address")
            self._known[key] = _Known(found, self._now() + DNS_TTL)
            return found
        finally:
            del self._running[key]


async def system_lookup(host: str, port: int) -> list[SocketAddress]:
    """As the system resolves names, in a thread of the loop's."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [SocketAddress(family, address) for family, _, _, _, address in found]  # type: ignore[arg-type]


def interleaved(addresses: Sequence[SocketAddress]) -> list[SocketAddress]:
    """The families by turns, that of the first address first (RFC 8305, 4)."""
    if not addresses:
        return []
    first = [each for each in addresses if each.family == addresses[0].family]
    others = [each for each in addresses if each.family != addresses[0].family]
    mixed: list[SocketAddress] = []
    for index in range(max(len(first), len(others))):
        mixed += first[index : index + 1] + others[index : index + 1]
    return mixed
