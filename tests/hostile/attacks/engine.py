"""Requests that are well-formed and dear to render, to compile or to answer."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tests.hostile.attack import Attack, Attacker
from tests.hostile.attacks.bodies import HELLO, chat, tool
from tests.hostile.wire import connect, post

BOOK = "The quick brown fox jumps over the lazy dog. " * 180  # 8 KB


@cache
def many_tools() -> tuple[bytes, ...]:
    """128 tools of 8 KB (A7)."""
    tools = [tool(description=BOOK) | {"type": "function"} for _ in range(128)]
    for number, each in enumerate(tools):
        each["function"] = {**each["function"], "name": f"f{number}"}
    return (chat(tools=tools), chat(tools=tools, tool_choice="required"))


@cache
def schemas() -> tuple[bytes, ...]:
    """Schemas that a grammar's compiler could choke on."""
    wide = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(3_000)}}
    values = {"enum": [f"value {number}" for number in range(20_000)]}
    doubled: Any = {"$defs": {"d0": {"type": "string"}}, "$ref": "#/$defs/d14"}
    for number in range(1, 15):
        both = [{"$ref": f"#/$defs/d{number - 1}"}] * 2
        doubled["$defs"][f"d{number}"] = {"type": "object", "properties": dict(zip("ab", both, strict=True))}
    patterns = ["(a*)*b", "(a|a)*c", "a{1,9999}{1,9999}", "(" * 500 + ")" * 500, "[\\w\\W]{1,100000}", "(?:x+x+)+y"]
    own = [{"type": "object", "properties": {"p": {"type": "string", "pattern": each}}} for each in patterns]
    long = {"type": "array", "items": {"type": "integer"}, "minItems": 100_000, "maxItems": 10**9}
    return tuple(
        chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, max_tokens=4)
        for schema in (wide, values, doubled, long, *own)
    )


async def send_many_tools(me: Attacker) -> None:
    await me.flood(*(post(body, me.poor) for body in many_tools() for _ in me.keys), connections=4)


async def send_schemas(me: Attacker) -> None:
    """From a key with credits: some of these may be answered."""
    await me.flood(*(post(body, me.rich) for body in schemas()), connections=3)


async def fill_the_engine(me: Attacker) -> None:
    """As many whole answers of eight choices as an account may have open."""
    body = json.dumps({"messages": HELLO, "n": 8, "max_tokens": 300, "temperature": 2}).encode()
    await me.flood(post(body, me.rich), connections=80, most=400)


async def read_nothing(me: Attacker) -> None:
    """Streams that are asked for and never read, from a key with credits."""
    body = json.dumps({"messages": HELLO, "max_tokens": 2_000, "stream": True}).encode()

    async def once(_: int) -> None:
        connection = await connect(me.target, me.source)

        try:
            await connection.send(post(body, me.rich))
            me.outcomes[await connection.outcome(min(2.0, max(0.2, me.left)))] += 1
        finally:
            connection.close()

    await me.repeat(once, 32, most=200)


async def leave_at_once(me: Attacker) -> None:
    """Requests whose client is gone before anything came."""
    body = json.dumps({"messages": HELLO, "max_tokens": 500, "stream": True}).encode()

    async def once(_: int) -> None:
        connection = await connect(me.target, me.source)
        await connection.send(post(body, me.rich))
        connection.close()
        me.outcomes["closed"] += 1

    await me.repeat(once, 8, most=3_000)


ATTACKS = (
    Attack("128 tools of 8 KB", "A7", send_many_tools),
    Attack("schemas and patterns", "A7", send_schemas, served=("200", "503 engine_overloaded"), short=False),
    Attack(
        "eighty answers of eight choices", "G13", fill_the_engine, served=("200", "503 engine_overloaded"), short=False
    ),
    Attack(
        "streams that are not read", "G13", read_nothing, served=("200", "silent", "503 engine_overloaded"), short=False
    ),
    Attack("clients that leave at once", "G13", leave_at_once, short=False),
)
