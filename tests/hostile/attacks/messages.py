"""HTTP messages that are not what the standard allows, or without end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.hostile.attack import Attack, Attacker
from tests.hostile.wire import CHAT, connect, exchange, get, head, post

HELLO = b'{"messages":[{"role":"user","content":"Hello!"}],"max_tokens":1}'
CHUNK = b"%x\r\n" % len(HELLO) + HELLO + b"\r\n"


def chunked(key: str | None, rest: bytes, **headers: str) -> bytes:
    start = head(key=key, Content_Type="application/json", Transfer_Encoding="chunked", **headers)
    return start + b"\r\n" + CHUNK + rest


async def trailers(me: Attacker) -> None:
    """Trailers, chunk extensions and headers without end, with and without a key (A3)."""
    endless = (
        chunked(None, b"0\r\n") + b"a:b\r\n" * 2_000_000,
        chunked(me.poor, b"0\r\n") + b"a:b\r\n" * 2_000_000,
        chunked(me.poor, b"1;" + b"x" * 8_000_000),
        chunked(None, b"1;a=b\r\nx\r\n" * 800_000),
        head(key=None) + b"X-A: b\r\n" * 1_000_000,
        head(key=me.poor) + b"X-Long: " + b"x" * 8_000_000,
        b"GET /" + b"a" * 8_000_000 + b" HTTP/1.1\r\n",
        b"\r\n" * 3_000_000,
    )
    await me.flood(*endless, connections=6)


async def key_in_a_trailer(me: Attacker) -> None:
    """A key that comes after the body (A4)."""
    late = f"0\r\nAuthorization: Bearer {me.rich}\r\n\r\n".encode()
    await me.flood(chunked(None, late, Trailer="Authorization"), connections=4)


async def offers_of_upgrades(me: Attacker) -> None:
    """700 pipelined requests, each with an offer to change the protocol (A14)."""
    offer = get("/healthz", Connection="Upgrade", Upgrade="h2c", HTTP2_Settings="AAMAAABkAAQAAP__")
    last = get("/nowhere", Connection="close, Upgrade", Upgrade="websocket")
    await me.repeat(lambda _: _pipelined(me, offer * 700 + last), 4)


async def pipelined(me: Attacker) -> None:
    """A thousand requests in one write, again and again."""
    await me.repeat(lambda _: _pipelined(me, get("/v1/models") * 1_000), 4)


async def _pipelined(me: Attacker, data: bytes) -> None:
    with suppress(OSError, TimeoutError):
        connection = await connect(me.target, me.source)
        try:
            sending = asyncio.ensure_future(connection.send(data))
            async with asyncio.timeout(max(0.5, me.left)):
                while await connection.reader.read(1_000_000):
                    continue  # what each of them is answered is another test's subject
            await sending
        finally:
            connection.close()
    me.outcomes["closed"] += 1


async def malformed(me: Attacker) -> None:
    """Heads that RFC 9112 does not allow (A15, A16)."""
    requests = [
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a b@c/..\r\n\r\n",
        b"GET /v1/models HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /v1/models HTTP/9.9\r\nHost: a\r\n\r\n",
        head(key=me.poor) + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        head(key=me.poor) + b"Content-Length: -1\r\n\r\n",
        head(key=me.poor) + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        head(key=me.poor) + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        head(key=me.poor) + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        head(key=me.poor) + b"X-A: b\0c\r\n\r\n",
        head(key=me.poor) + b"X A: b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0" * 10_000,
    ]

    async def once(number: int) -> None:
        me.outcomes[await exchange(me.target, me.source, requests[number % len(requests)], 3.0)] += 1

    await me.repeat(once, 8)


async def ids_of_clients(me: Attacker) -> None:
    """Control characters, terminals' codes and keys where a client names its request (A20)."""
    names = ("\x9b31m", "x" * 60_000, "mghp_" + "a" * 36, "\t\t", "%0d%0a", "\xff\xfe")
    requests = [post(HELLO, key, X_Client_Request_Id=name) for name in names for key in me.keys]
    await me.flood(*requests, connections=4)


async def odd_methods(me: Attacker) -> None:
    """Methods and targets that nothing here serves."""
    starts = (
        "OPTIONS *",
        "TRACE /",
        "CONNECT a:1",
        f"HEAD {CHAT}",
        f"DELETE {CHAT}",
        "BREW /v1/models",
        "GET http://x/",
    )
    await me.flood(
        *(f"{each} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode() for each in starts), connections=8
    )


async def documents(me: Attacker) -> None:
    """/metrics and /openapi.json from 64 connections without a key (A13)."""
    await me.flood(get("/metrics"), get("/openapi.json"), connections=64)


ATTACKS = (
    Attack("trailers and headers without end", "A3", trailers),
    Attack("a key in a trailer", "A4", key_in_a_trailer),
    Attack("700 pipelined offers of an upgrade", "A14", offers_of_upgrades),
    Attack("a thousand pipelined requests", "G13", pipelined, short=False),
    Attack("heads that are not HTTP", "A16", malformed),
    Attack("names of requests", "A20", ids_of_clients, short=False),
    Attack("methods that nothing serves", "A16", odd_methods, served=("200", "204"), short=False),
    Attack("/metrics and /openapi.json", "A13", documents, served=("200",)),
)
