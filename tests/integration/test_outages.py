"""A database that does not answer: which errors count as that, what is closed, and what is logged."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy.exc
from sqlalchemy import text
from structlog.testing import capture_logs

import services.auth
from servicekit.database.database import Database, migrate_database, open_database
from servicekit.database.outages import OutageLog, is_gone, is_outage
from servicekit.errors import DatabaseUnavailable

MIGRATIONS = Path(services.auth.__file__).parent / "migrations"
# Counts for minutes, in one statement.
LONG = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) SELECT count(*) FROM n"
)
GONE = [
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.PostgresIOError,
    asyncpg.InternalServerError,
    asyncpg.DataCorruptedError,
    asyncpg.InvalidSQLStatementNameError,
]
AWAY_FOR_NOW = [asyncpg.DiskFullError, asyncpg.OutOfMemoryError, asyncpg.QueryCanceledError]
OWN_FAULTS = [asyncpg.UniqueViolationError, asyncpg.CheckViolationError, asyncpg.UndefinedColumnError]


@pytest.mark.parametrize("kind", GONE)
def test_an_error_that_means_not_here_any_more_closes_the_connection(kind: type[asyncpg.PostgresError]) -> None:
    assert is_outage(kind("x"))
    assert is_gone(kind("x"))


@pytest.mark.parametrize("kind", AWAY_FOR_NOW)
def test_a_server_that_cannot_just_now_keeps_its_connection(kind: type[asyncpg.PostgresError]) -> None:
    assert is_outage(kind("x"))
    assert not is_gone(kind("x"))


@pytest.mark.parametrize("kind", OWN_FAULTS)
def test_a_wrong_statement_is_no_outage(kind: type[asyncpg.PostgresError]) -> None:
    assert not is_outage(kind("x"))
    assert not is_gone(kind("x"))


async def test_connections_to_a_server_that_is_read_only_are_left(postgres_url: str) -> None:
    await only_reading(postgres_url, True)
    async with open_database(postgres_url, migrations=MIGRATIONS, migrate=False) as database:
        async with database.read() as session, database.read() as other:  # two connections, both read only
            await asyncio.gather(session.execute(text("SELECT 1")), other.execute(text("SELECT 1")))
        await only_reading(postgres_url, False)
        with pytest.raises(DatabaseUnavailable):
            await write(database)
        for _ in range(5):
            await write(database)


async def only_reading(url: str, only: bool) -> None:
    """Says that new sessions of a migrated database may only read, as a server says that is not the primary."""
    if only:
        await migrate_database(url, migrations=MIGRATIONS)
    admin = await asyncpg.connect(url, server_settings={"default_transaction_read_only": "off"})
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {"on" if only else "off"}')
    await admin.close()


async def write(database: Database) -> None:
    async with database.write() as session:
        await session.execute(text("UPDATE accounts SET email = email"))


async def test_a_read_that_is_cancelled_ends_its_statement_at_once(sqlite_url: str) -> None:
    before = threading.active_count()
    async with open_database(sqlite_url, migrations=MIGRATIONS) as database:

        async def count() -> None:
            async with database.read(timeout=600) as session:
                await session.execute(LONG)

        counting = asyncio.create_task(count())
        while threading.active_count() == before:  # noqa: ASYNC110  the connection's thread begins with its connection
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        began = time.monotonic()
        counting.cancel()
        counting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await counting
        async with database.read() as session:
            await session.execute(text("SELECT 1"))
    assert time.monotonic() - began < 5
    async with asyncio.timeout(5):
        while threading.active_count() > before:  # noqa: ASYNC110  a thread tells nobody that it ends
            await asyncio.sleep(0.01)


def broken() -> sqlalchemy.exc.DBAPIError:
    return sqlalchemy.exc.OperationalError("x", {}, sqlite3.OperationalError("disk I/O error"))


def test_an_outage_has_a_line_at_its_beginning_one_in_ten_seconds_and_one_at_its_end() -> None:
    now = 0.0
    outages = OutageLog(lambda: now)
    with capture_logs() as lines:
        for _ in range(900):  # ten in a second, for 90 s
            outages.failed(broken(), write=True)
            outages.succeeded(write=False)  # reads are served meanwhile
            now += 0.1
        outages.succeeded(write=True)
        outages.succeeded(write=True)
    events = [line["event"] for line in lines]
    assert events == ["database_unavailable"] * events.count("database_unavailable") + ["database_available"]
    assert 9 <= events.count("database_unavailable") <= 10
    assert lines[-1]["failures"] == 900
    assert lines[-1]["seconds"] == pytest.approx(90)


def test_reads_that_work_again_end_an_outage_of_reads() -> None:
    outages = OutageLog(lambda: 0.0)
    with capture_logs() as lines:
        outages.failed(broken(), write=False)
        outages.succeeded(write=False)
    assert [line["event"] for line in lines] == ["database_unavailable", "database_available"]
