"""A service's database: SQLite by default, PostgreSQL by URL; migrated at start; outages as one error.

SQLite means one process: a lock file beside the database refuses a second one. Replicas need PostgreSQL.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import asyncpg
import prometheus_client
import sqlalchemy.exc
from alembic import command, context
from alembic.config import Config
from sqlalchemy import MetaData, event, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from servicekit.errors import DatabaseUnavailable, StartupError
from servicekit.logging import get_logger

log = get_logger(__name__)

UNAVAILABLE = prometheus_client.Counter(
    "muhgpt_database_unavailable_total", "Transactions that failed because the database did not answer"
)

Dialect = Literal["sqlite", "postgresql"]
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
CONNECT_TIMEOUT = 5.0  # seconds
QUERY_TIMEOUT = 2.0  # seconds for one read() or write() block

# What drivers raise when the server is gone, restarting, or out of connections.
OUTAGES = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
    sqlite3.OperationalError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)


@dataclass(frozen=True)
class Database:
    """An open database. Cold paths use read() and write(); a hot path may use `url` with a driver of its own."""

    engine: AsyncEngine
    dialect: Dialect
    url: URL
    schema: str | None
    # SQLite has one writer. Those that wait do so here, in the order in which they came and without a connection: in
    # SQLite itself they would poll, the unlucky one starves, and one that gives up there can leave the file locked.
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)

    @asynccontextmanager
    async def read(self, timeout: float = QUERY_TIMEOUT) -> AsyncIterator[AsyncSession]:
        """One transaction for reading, a consistent snapshot on SQLite. Raises DatabaseUnavailable."""
        async with self._session(write=False, timeout=timeout) as session:
            yield session

    @asynccontextmanager
    async def write(self, timeout: float = QUERY_TIMEOUT) -> AsyncIterator[AsyncSession]:
        """One transaction, committed at the end of the block, rolled back by any exception. Raises DatabaseUnavailable.

        On SQLite it takes the write lock at once, so that a transaction that read first cannot fail when it writes.
        """
        async with self._session(write=True, timeout=timeout) as session:
            yield session

    @asynccontextmanager
    async def _session(self, *, write: bool, timeout: float) -> AsyncIterator[AsyncSession]:
        with outages_translated():
            async with asyncio.timeout(timeout), AsyncExitStack() as stack:
                if write and self.dialect == "sqlite":
                    await stack.enter_async_context(self._turn)
                connection = await stack.enter_async_context(self.engine.connect())
                await connection.execution_options(write=write)
                async with connection.begin(), AsyncSession(bind=connection, expire_on_commit=False) as session:
                    yield session
                    await session.flush()


@contextmanager
def outages_translated() -> Iterator[None]:
    """Turns what drivers raise when the database does not answer into DatabaseUnavailable."""
    try:
        yield
    except OUTAGES as error:
        UNAVAILABLE.inc()
        log.warning("database_unavailable", error=type(error).__name__)
        raise DatabaseUnavailable("the database does not answer") from error
    except sqlalchemy.exc.DBAPIError as error:
        # While it connects, SQLAlchemy hides the driver's own error one level deeper.
        cause = error.orig.__cause__ if error.orig else None
        if error.connection_invalidated or isinstance(error.orig, OUTAGES) or isinstance(cause, OUTAGES):
            UNAVAILABLE.inc()
            log.warning("database_unavailable", error=type(error).__name__)
            raise DatabaseUnavailable("the database does not answer") from error
        raise


@asynccontextmanager
async def open_database(
    url: str, *, migrations: Path, schema: str | None = None, setting: str = "DATABASE_URL", synchronous: str = "NORMAL"
) -> AsyncIterator[Database]:
    """Opens, locks (SQLite) and migrates a database. Raises StartupError: names the setting, hides the password."""
    parsed, dialect = _parse(url, setting)
    with _single_process(parsed) if dialect == "sqlite" else _no_lock():
        engine = _engine(parsed, dialect, schema, synchronous)
        try:
            await _migrate(engine, dialect, schema, migrations, setting)
            yield Database(engine, dialect, parsed, schema)
        finally:
            await engine.dispose()


def run_migrations(metadata: MetaData) -> None:
    """What a service's migrations/env.py calls; open_database passes the connection."""
    connection: Connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


def _parse(url: str, setting: str) -> tuple[URL, Dialect]:
    try:
        parsed = make_url(url)
        driver = DRIVERS[parsed.drivername]
    except (sqlalchemy.exc.ArgumentError, KeyError):
        raise StartupError(f"{setting} must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE") from None
    if driver.startswith("sqlite"):
        path = Path(parsed.database or "")
        if not parsed.database or not path.parent.is_dir():
            raise StartupError(
                f"{setting}: the folder of {parsed.database or 'the database'} does not exist; make it first"
            )
        return parsed.set(drivername=driver), "sqlite"
    return parsed.set(drivername=driver), "postgresql"


@contextmanager
def _single_process(url: URL) -> Iterator[None]:
    path = f"{url.database}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StartupError(
            f"another process uses {url.database}; stop it, or use PostgreSQL, which several replicas can share"
        ) from None
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def _no_lock() -> Iterator[None]:
    yield


def _engine(url: URL, dialect: Dialect, schema: str | None, synchronous: str) -> AsyncEngine:
    if dialect == "postgresql":
        server_settings = {"search_path": schema} if schema else {}
        arguments = {"timeout": CONNECT_TIMEOUT, "command_timeout": 30, "server_settings": server_settings}
        return create_async_engine(
            url, connect_args=arguments, pool_size=5, max_overflow=10, pool_timeout=QUERY_TIMEOUT
        )
    engine = create_async_engine(url, hide_parameters=True, connect_args={"factory": _SqliteConnection})

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's "begin" below, not the driver, starts transactions
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "busy_timeout=5000", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


class _SqliteConnection(sqlite3.Connection):
    """Rolls back before it closes.

    A call that is cancelled in its transaction closes its connection, but SQLite keeps a closed connection's
    transaction, write lock and all, for as long as one of its cursors is in memory (sqlite3_close_v2): seen until the
    garbage collector came.
    """

    def close(self) -> None:
        with suppress(sqlite3.Error):  # closed already, or broken: there is nothing to roll back
            self.rollback()
        super().close()


async def _migrate(engine: AsyncEngine, dialect: Dialect, schema: str | None, migrations: Path, setting: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations))

    def upgrade(connection: Connection) -> None:
        if dialect == "postgresql":
            # Two replicas that start together: the second waits and finds the work done.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"migrate:{schema}"})
            if schema:
                connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    except (*OUTAGES, asyncpg.PostgresError, sqlalchemy.exc.DBAPIError) as error:
        cause = getattr(error, "orig", None) or error
        where = engine.url.render_as_string(hide_password=True)
        raise StartupError(
            f"{setting}: cannot open {where}: {cause}; start the database or correct the setting"
        ) from None
