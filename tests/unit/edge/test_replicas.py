"""Replicas: addresses as written, and what names lead to, followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from servicekit.errors import StartupError
from services.edge.peers.streaming.replicas import Replicas
from services.edge.peers.streaming.resolver import SystemResolver
from tests.worlds.in_process.names import Names

INTERVAL = 0.01


@dataclass
class Connection:
    """Notes how it was closed."""

    address: str
    ended: list[str] = field(default_factory=list)

    async def close(self) -> None:
        self.ended.append("close")

    async def close_when_idle(self) -> None:
        self.ended.append("when idle")


def found(text: str, names: Names, interval: float = INTERVAL) -> Replicas[Connection]:
    return Replicas("quota", text, Connection, names, interval=interval)


def addresses(replicas: Replicas[Connection]) -> list[str]:
    return [replica.address for replica in replicas]


@pytest.fixture
async def started() -> AsyncIterator[Callable[[Replicas[Connection]], Replicas[Connection]]]:
    running: list[Replicas[Connection]] = []

    def start(replicas: Replicas[Connection]) -> Replicas[Connection]:
        replicas.start()
        running.append(replicas)
        return replicas

    yield start
    for each in running:
        await each.close()


async def changed(replicas: Replicas[Connection]) -> None:
    event = asyncio.Event()
    replicas.watch(event.set)
    await asyncio.wait_for(event.wait(), 5)


async def test_addresses_are_there_at_once_and_nobody_is_asked(started: Callable) -> None:
    names = Names()
    replicas = started(found("10.0.0.2:7000, 10.0.0.1:7000,[::1]:7000", names))
    assert addresses(replicas) == ["10.0.0.1:7000", "10.0.0.2:7000", "[::1]:7000"]
    await replicas.known()
    assert names.asked == 0


@pytest.mark.parametrize("text", ["", "host", "10.0.0.1:7000,", "host:port"])
async def test_what_is_no_address_is_shown(text: str) -> None:
    with pytest.raises(StartupError, match="is not an address"):
        found(text, Names())


async def test_a_name_is_one_replica_for_each_of_its_addresses(started: Callable) -> None:
    replicas = started(found("quota:7000,10.0.0.9:7001", Names(quota=["10.0.0.2", "10.0.0.1", "fd00::1"])))
    assert addresses(replicas) == ["10.0.0.9:7001"]
    await changed(replicas)
    assert addresses(replicas) == ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.9:7001", "[fd00::1]:7000"]


async def test_replicas_appear_and_vanish_and_those_that_stay_are_the_same(started: Callable) -> None:
    names = Names(quota=["10.0.0.1", "10.0.0.2"])
    replicas = started(found("quota:7000", names))
    await replicas.known()
    first, second = replicas.now
    names.hosts["quota"] = ["10.0.0.2", "10.0.0.3"]
    await changed(replicas)
    assert replicas.now[0] is second
    assert addresses(replicas) == ["10.0.0.2:7000", "10.0.0.3:7000"]
    await names.asked_again()
    assert first.connection.ended == ["when idle"]
    names.hosts["quota"] = ["10.0.0.1"]
    await changed(replicas)
    assert replicas.now[0] is not first


@pytest.mark.parametrize("answer", [None, []])
async def test_a_name_that_leads_nowhere_changes_nothing(started: Callable, answer: list[str] | None) -> None:
    names = Names(quota=["10.0.0.1"])
    replicas = started(found("quota:7000", names))
    await replicas.known()
    before = replicas.now
    names.hosts["quota"] = answer
    await names.asked_again()
    assert replicas.now is before


async def test_a_name_unknown_at_the_start_is_found_when_it_is_there(started: Callable) -> None:
    names = Names()
    replicas = started(found("quota:7000", names))
    await names.asked_again()
    assert len(replicas) == 0
    names.hosts["quota"] = ["10.0.0.1"]
    await asyncio.wait_for(replicas.known(), 5)
    assert addresses(replicas) == ["10.0.0.1:7000"]


async def test_a_lost_replica_has_names_asked_before_their_time(started: Callable) -> None:
    names = Names(quota=["10.0.0.1"])
    replicas = started(found("quota:7000", names, interval=3600))
    await replicas.known()
    names.hosts["quota"] = ["10.0.0.2"]
    replicas.look()
    await changed(replicas)
    assert addresses(replicas) == ["10.0.0.2:7000"]


async def test_after_a_replica_comes_the_next_whether_or_not_it_is_still_there(started: Callable) -> None:
    names = Names(quota=["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    replicas = started(found("quota:7000", names))
    await replicas.known()
    one, two, three = replicas.now
    assert [replicas.after(each) for each in (one, two, three)] == [two, three, one]
    names.hosts["quota"] = ["10.0.0.1", "10.0.0.3"]
    await changed(replicas)
    assert replicas.after(two) is three
    names.hosts["quota"] = ["10.0.0.3"]
    await changed(replicas)
    assert replicas.after(three) is three


async def test_closing_closes_every_connection() -> None:
    replicas = found("10.0.0.1:7000,10.0.0.2:7000", Names())
    await replicas.close()
    assert [replica.connection.ended for replica in replicas] == [["close"], ["close"]]


async def test_the_system_knows_localhost_by_its_ipv4_address() -> None:
    assert await SystemResolver().addresses("localhost") == ["127.0.0.1"]


async def test_the_system_says_when_a_name_has_no_address() -> None:
    with pytest.raises(OSError, match=r"(?i)name"):
        await SystemResolver().addresses("no-such-host.invalid")
