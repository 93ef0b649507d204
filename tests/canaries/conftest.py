"""One platform for all of these tests, in which everything that a client can do wrong has happened."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg
import httpx
import pytest

from common import key_format
from tests.canaries.accidents import accidents
from tests.canaries.requests import RED, asks, send
from tests.canaries.world import World, world


class Site(BaseHTTPRequestHandler):
    """A web site with one picture."""

    def do_GET(self) -> None:
        files = {"/red.png": RED, "/text.png": b"no picture: " + self.path.encode()}
        file = files.get(self.path.partition("?")[0])
        self.send_response(200 if file else 404)
        self.end_headers()
        self.wfile.write(file or self.path.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def database(postgres_server: str) -> Iterator[str]:
    name = f"canaries_{secrets.token_hex(6)}"
    asyncio.run(administer(postgres_server, f'CREATE DATABASE "{name}"'))
    base, _, query = postgres_server.partition("?")
    yield f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    asyncio.run(administer(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def administer(url: str, *statements: str) -> None:
    connection = await asyncio.wait_for(asyncpg.connect(url), 10)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory, projector: Path, database: str, site: str) -> Iterator[World]:
    """The platform after all requests and accidents."""
    with world(tmp_path_factory.mktemp("canaries"), projector, database, site) as lived:
        keys = make_keys(lived)
        # Off the edges' own keep-alive: an answer to a request that the edge will not read ends its connection.
        base = lived.platform.base_url.removesuffix("/v1")
        with httpx.Client(base_url=base, timeout=60) as client:
            for ask in asks(lived.marks.plant, keys, site):
                answer = send(client, ask)
                assert answer.status_code in ask.expected, (ask.name, answer.status_code, answer.text[:500])
                lived.answers[ask.mark] = answer.content + repr(answer.headers).encode()
        accidents(lived, keys["good"], database)
        yield lived


def make_keys(lived: World) -> dict[str, str]:
    """API keys by what is special about them; all are looked for."""
    platform, marks = lived.platform, lived.marks
    account = platform.account(per_minute=100_000)
    revoked = platform.key(account)
    platform.muhgpt("keys", "revoke", revoked.key.key_id)
    mistyped = platform.key(account).secret
    keys = {
        "good": account.key,
        "revoked": revoked.secret,
        "mistyped": mistyped[:-1] + ("a" if mistyped[-1] != "a" else "b"),
        "unknown": key_format.mint(secrets.token_bytes),
        "poor": platform.account(credits=0).key,
        "limited": platform.account(per_minute=1).key,
        "bound": platform.key(account, allowed_models=["muh-upstream"]).secret,
    }
    for name, key in keys.items():
        marks.add(f"{name} key", key)
    return keys
