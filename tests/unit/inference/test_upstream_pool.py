"""Idle connections: which is used again, and how long and how many are kept."""

from __future__ import annotations

import asyncio

from services.inference.engines.upstream.http.connection import HttpConnection
from services.inference.engines.upstream.http.origin import Origin
from services.inference.engines.upstream.http.pool import KEEPALIVE_TIMEOUT, MAX_IDLE, IdlePool
from tests.fakes_wire import Wire

HERE, THERE = Origin(False, "a.example", 80), Origin(True, "a.example", 80)


def connected() -> tuple[HttpConnection, Wire]:
    connection, wire = HttpConnection(), Wire()
    connection.connection_made(wire)
    return connection, wire


async def test_the_one_used_last_is_taken_first_and_each_once() -> None:
    pool, loop = IdlePool(), asyncio.get_running_loop()
    first, second = connected()[0], connected()[0]
    pool.put(HERE, first, loop)
    pool.put(HERE, second, loop)
    assert pool.take(THERE, loop.time()) is None, "another server, be it of the same name"
    assert [pool.take(HERE, loop.time()) for _ in range(3)] == [second, first, None]
    pool.close()


async def test_what_has_been_idle_for_long_or_has_closed_is_not_taken() -> None:
    pool, loop = IdlePool(), asyncio.get_running_loop()
    (old, old_wire), (closed, closed_wire) = connected(), connected()
    pool.put(HERE, old, loop)
    pool.put(HERE, closed, loop)
    closed_wire.aborted = True
    assert pool.take(HERE, loop.time() + KEEPALIVE_TIMEOUT) is None
    assert old_wire.aborted
    pool.close()


async def test_idle_connections_are_closed_after_a_while_by_themselves() -> None:
    pool, loop = IdlePool(keepalive_timeout=0.02), asyncio.get_running_loop()
    wires = []
    for _ in range(3):
        connection, wire = connected()
        pool.put(HERE, connection, loop)
        wires.append(wire)
        await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        while not all(wire.aborted for wire in wires):  # noqa: ASYNC110  a transport reports nothing
            await asyncio.sleep(0.005)


async def test_more_than_enough_are_not_kept() -> None:
    pool, loop = IdlePool(), asyncio.get_running_loop()
    made = [connected() for _ in range(MAX_IDLE + 2)]
    for connection, _ in made:
        pool.put(HERE, connection, loop)
    assert [wire.aborted for _, wire in made] == [True, True] + [False] * MAX_IDLE
    pool.close()
    assert all(wire.aborted for _, wire in made)
