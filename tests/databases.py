"""Databases of a PostgreSQL server of the tests: made, copied, dropped."""

from __future__ import annotations

import asyncio
import secrets

import asyncpg

CONNECT_TIMEOUT = 10.0  # seconds


async def create(server_url: str, template: str = "") -> str:
    """A fresh database: empty, or a copy of one that nobody is connected to. Returns its URL."""
    name = f"test_{secrets.token_hex(6)}"
    copied = f' TEMPLATE "{name_of(template)}"' if template else ""
    await _administer(server_url, f'CREATE DATABASE "{name}"{copied}')
    base, _, query = server_url.partition("?")
    return f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


async def drop(server_url: str, url: str) -> None:
    """Removes a database, whoever is connected to it."""
    await _administer(server_url, f'DROP DATABASE "{name_of(url)}" WITH (FORCE)')


def name_of(url: str) -> str:
    """The database's name in a URL."""
    return url.partition("?")[0].rpartition("/")[2]


async def _administer(url: str, statement: str) -> None:
    connection = await asyncio.wait_for(asyncpg.connect(url), CONNECT_TIMEOUT)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
