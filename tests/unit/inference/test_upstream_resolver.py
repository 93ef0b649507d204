"""Addresses of upstreams: how long they are believed, in which order they are tried."""

from __future__ import annotations

import asyncio
import socket

import pytest

from services.inference.engines.upstream.http.dial import first_connected
from services.inference.engines.upstream.http.resolver import DNS_TTL, Resolver, SocketAddress, interleaved


def v4(last: int) -> SocketAddress:
    return SocketAddress(socket.AF_INET, (f"10.0.0.{last}", 80))


def v6(last: int) -> SocketAddress:
    return SocketAddress(socket.AF_INET6, (f"::{last}", 80, 0, 0))


class Names:
    """A name server and a clock."""

    def __init__(self, *addresses: SocketAddress) -> None:
        self.addresses = list(addresses)
        self.lookups = 0
        self.now = 0.0
        self.resolver = Resolver(lambda: self.now, self._look_up)

    async def _look_up(self, host: str, port: int) -> list[SocketAddress]:
        self.lookups += 1
        await asyncio.sleep(0)
        return self.addresses

    async def ask(self) -> list[SocketAddress]:
        return await self.resolver.addresses("a.example", 80)


async def test_a_name_is_asked_for_again_when_its_time_is_over() -> None:
    names = Names(v4(1))
    assert await names.ask() == [v4(1)]
    names.addresses = [v4(2)]
    names.now = DNS_TTL - 0.1
    assert await names.ask() == [v4(1)]
    names.now = DNS_TTL
    assert await names.ask() == [v4(2)]
    assert names.lookups == 2


async def test_each_connection_begins_with_the_next_address() -> None:
    names = Names(v4(1), v4(2), v4(3))
    firsts = [(await names.ask())[0] for _ in range(4)]
    assert firsts == [v4(1), v4(2), v4(3), v4(1)]


async def test_lookups_at_the_same_time_are_one_and_one_that_leaves_ends_it_for_no_other() -> None:
    names = Names(v4(1))
    asks = [asyncio.ensure_future(names.ask()) for _ in range(3)]
    await asyncio.sleep(0)
    asks[0].cancel()
    assert await asks[1] == await asks[2] == [v4(1)]
    assert names.lookups == 1


async def test_a_name_without_addresses_is_an_error_and_asked_for_again() -> None:
    names = Names()
    for _ in range(2):
        with pytest.raises(OSError, match="no address"):
            await names.ask()
    assert names.lookups == 2


async def test_addresses_are_not_looked_up() -> None:
    names = Names()
    assert await names.resolver.addresses("10.0.0.7", 80) == [v4(7)]
    assert (await names.resolver.addresses("::1", 80))[0].family == socket.AF_INET6
    assert names.lookups == 0


def test_the_families_take_turns_from_the_first_ones() -> None:
    assert interleaved([v6(1), v6(2), v6(3), v4(1)]) == [v6(1), v4(1), v6(2), v6(3)]
    assert interleaved([v4(1), v4(2), v6(1)]) == [v4(1), v6(1), v4(2)]
    assert interleaved([]) == []


async def test_the_next_address_is_tried_beside_one_that_does_not_answer() -> None:
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(4)]
    for each in waiting:  # what is more than the backlog gets no answer
        each.setblocking(False)
        each.connect_ex(full.getsockname())
    good = socket.create_server(("127.0.0.1", 0))
    addresses = [SocketAddress(socket.AF_INET, each.getsockname()) for each in (full, good)]
    async with asyncio.timeout(10):
        connected = await first_connected(addresses, stagger=0.01)
    assert connected.getpeername() == good.getsockname()
    for each in (connected, full, good, *waiting):
        each.close()


async def test_when_none_answers_the_last_failure_is_raised() -> None:
    lost = socket.create_server(("127.0.0.1", 0))
    address = SocketAddress(socket.AF_INET, lost.getsockname())
    lost.close()
    with pytest.raises(ConnectionRefusedError):
        await first_connected([address, address], stagger=0.01)
    with pytest.raises(OSError, match="no address"):
        await first_connected([])
