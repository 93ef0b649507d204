"""Keys that do not exist, do not parse, or have nothing left."""

from __future__ import annotations

import secrets

from common.key_format import mint
from tests.hostile.attack import Attack, Attacker
from tests.hostile.wire import get, post

BODY = b'{"messages":[{"role":"user","content":"Hello!"}],"max_tokens":1}'


async def unknown_keys(me: Attacker) -> None:
    """64 connections, a new well-formed key each time (A9)."""
    await me.repeat(lambda _: me.send(get("/v1/models", mint(secrets.token_bytes))), 64)


async def unknown_keys_of_many_addresses(me: Attacker) -> None:
    """The same from two hundred addresses."""
    sources = [f"127.0.{third}.{fourth}" for third in (10, 11) for fourth in range(1, 101)]

    async def once(number: int) -> None:
        await me.send(get("/v1/models", mint(secrets.token_bytes)), sources[number % len(sources)])

    await me.repeat(once, 64)


async def malformed_keys(me: Attacker) -> None:
    keys = ("", "x", "mghp_", "mghp_" + "a" * 36, "sk-" + "a" * 48, "mghp_" + "\u00e9" * 36, "a" * 60_000)
    await me.flood(*(post(BODY, key) for key in keys), connections=32)


async def no_credits(me: Attacker) -> None:
    """A key that can pay nothing, from 64 connections."""
    await me.flood(*(post(BODY, key) for key in me.keys), connections=64)


ATTACKS = (
    Attack("unknown keys of one address", "A9", unknown_keys),
    Attack("unknown keys of 200 addresses", "A9", unknown_keys_of_many_addresses, short=False),
    Attack("malformed keys", "A9", malformed_keys, short=False),
    Attack("a key without credits", "G13", no_credits),
)
