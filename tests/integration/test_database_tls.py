"""A PostgreSQL with a certificate: checked against an authority and the host's name, or not connected to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from servicekit.clock import SystemClock
from servicekit.database.database import migrate_database, open_database
from servicekit.errors import StartupError
from services.auth.migrate import MIGRATIONS
from services.quota.migrate import MIGRATIONS as QUOTA_MIGRATIONS
from services.quota.store.postgres.store import PostgresStore
from tests.certificates import Authority

SSL_REQUEST = 8  # bytes with which a client asks for TLS


def context_of(folder: Path, authority: Authority, name: str) -> ssl.SSLContext:
    for file, content in authority.issue(name).files().items():
        (folder / file).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


@asynccontextmanager
async def in_front_of(url: str, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    """The URL of a server with a certificate (None: without TLS) that passes everything on to the one at `url`."""
    target = make_url(url)

    async def onward() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = target.query.get("host") or target.host
        if isinstance(folder, str) and folder.startswith("/"):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        return await asyncio.open_connection(target.host, target.port or 5432)

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(SSL_REQUEST)
            writer.write(b"S" if tls else b"N")
            await writer.drain()
            if tls:
                await writer.start_tls(tls)
            back, on = await onward()
            await asyncio.gather(copy(reader, on), copy(back, writer))
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield target.set(host="localhost", port=port, query={}).render_as_string(hide_password=False)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority()
    (tmp_path / "authority.pem").write_bytes(made.pem)
    return made


async def test_a_server_with_the_right_certificate_is_used_by_everything_that_connects(
    postgres_url: str, tmp_path: Path, authority: Authority
) -> None:
    ca_file = tmp_path / "authority.pem"
    async with in_front_of(postgres_url, context_of(tmp_path, authority, "localhost")) as url:
        await migrate_database(url, migrations=QUOTA_MIGRATIONS, ca_file=ca_file)
        async with open_database(url, migrations=QUOTA_MIGRATIONS, ca_file=ca_file) as database:
            async with database.read() as session:
                assert (await session.exec(text("SELECT 1"))).scalar_one() == 1  # type: ignore[call-overload]
            store = await PostgresStore.open(database.url, clock=SystemClock())
            await store.close()


async def test_the_urls_own_options_do_the_same(postgres_url: str, tmp_path: Path, authority: Authority) -> None:
    async with in_front_of(postgres_url, context_of(tmp_path, authority, "localhost")) as url:
        options = f"?sslmode=verify-full&sslrootcert={tmp_path / 'authority.pem'}"
        async with open_database(url + options, migrations=MIGRATIONS) as database, database.read() as session:
            assert (await session.exec(text("SELECT 1"))).scalar_one() == 1  # type: ignore[call-overload]


@pytest.mark.parametrize("wrong", ["name", "authority", "no TLS"])
async def test_any_other_server_is_not_connected_to(
    postgres_url: str, tmp_path: Path, authority: Authority, wrong: str
) -> None:
    signer = Authority() if wrong == "authority" else authority
    context = context_of(tmp_path, signer, "elsewhere.example" if wrong == "name" else "localhost")
    async with in_front_of(postgres_url, None if wrong == "no TLS" else context) as url:
        with pytest.raises(StartupError, match="cannot open"):
            async with open_database(url, migrations=MIGRATIONS, ca_file=tmp_path / "authority.pem"):
                pass


async def test_an_authority_that_cannot_be_read_is_said_at_start(postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for file in ("missing.pem", "empty.pem"):
        with pytest.raises(StartupError, match=file):
            async with open_database(postgres_url, migrations=MIGRATIONS, ca_file=tmp_path / file):
                pass


async def test_a_server_elsewhere_that_is_not_checked_is_a_warning() -> None:
    with capture_logs() as lines, pytest.raises(StartupError):
        async with open_database("postgresql://muhgpt@database.invalid/muhgpt", migrations=MIGRATIONS):
            pass
    assert "database_not_verified" in {line["event"] for line in lines}
