"""Connections that are opened, held, dripped on or stalled."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

from tests.hostile.attack import Attack, Attacker
from tests.hostile.wire import Connection, connect, get, head

MIB = 1024 * 1024
SOURCES = [f"127.0.9.{number}" for number in range(1, 9)]  # addresses of loopback: a few machines


async def stall_uploads(me: Attacker) -> None:
    """200 bodies of 20 MB without their last byte (A5)."""
    size = 20 * 1024 * 1024
    start = head(key=me.poor, Content_Type="application/json", Content_Length=str(size)) + b"\r\n"
    piece = b" " * MIB

    async def once(number: int) -> None:
        await hold(me, start, *[piece] * 19, piece[:-1], source=SOURCES[number % len(SOURCES)])

    await me.repeat(once, 200, most=200)


async def drip(me: Attacker) -> None:
    """Heads and bodies that come a byte at a time."""
    whole = head(key=me.poor, Content_Type="application/json", Content_Length="1000") + b"\r\n{"

    async def once(number: int) -> None:
        cut = len(whole) if number % 2 else 20
        await hold(me, whole[:cut], *([b"x"] * 1_000 if number % 2 else [b"X-A: b\r\n"] * 1_000), pause=0.05)

    await me.repeat(once, 100, most=200)


async def stay_idle(me: Attacker) -> None:
    """1,200 connections that send nothing, from eight addresses (A12)."""

    async def once(number: int) -> None:
        await hold(me, b"", source=SOURCES[number % len(SOURCES)])

    await me.repeat(once, 1_200, most=1_200)


async def stay_idle_from_one_address(me: Attacker) -> None:
    """600 connections from one address."""

    async def once(_: int) -> None:
        await hold(me, get("/healthz") if _ % 2 else b"")

    await me.repeat(once, 600, most=600)


async def come_and_go(me: Attacker) -> None:
    """Connections that are opened and closed, thousands."""

    async def once(_: int) -> None:
        with suppress(OSError, TimeoutError):
            connection = await connect(me.target, me.source)
            connection.close()
        me.outcomes["closed"] += 1

    await me.repeat(once, 16, most=20_000)


async def hold(me: Attacker, *pieces: bytes, source: str | None = None, pause: float = 0.0) -> None:
    """Sends the pieces and keeps the connection until the attack is over, or until the other side ends it."""
    try:
        connection = await connect(me.target, source or me.source)
    except (OSError, TimeoutError):
        me.outcomes["closed"] += 1
        return
    async with AsyncExitStack() as stack:
        stack.callback(connection.close)
        answer = asyncio.ensure_future(connection.outcome(max(0.1, me.left)))
        await _send(connection, pieces, pause, answer)
        me.outcomes[await answer] += 1


async def _send(connection: Connection, pieces: tuple[bytes, ...], pause: float, answer: asyncio.Future[str]) -> None:
    with suppress(ConnectionError):
        for piece in pieces:
            if answer.done():
                return
            await connection.send(piece)
            if pause:
                await asyncio.wait([answer], timeout=pause)


ATTACKS = (
    Attack("200 uploads that stall", "A5", stall_uploads, served=("silent", "503")),
    Attack("heads and bodies drop by drop", "A5", drip, served=("silent",), short=False),
    Attack("1,200 idle connections", "A12", stay_idle, served=("silent",)),
    Attack("600 connections of one address", "A12", stay_idle_from_one_address, served=("silent", "200"), short=False),
    Attack("connections that come and go", "A12", come_and_go, short=False),
)
