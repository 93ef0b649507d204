"""A service's database: SQLite by default, PostgreSQL by URL; migrated at start; outages as one error.

SQLite means one process: a lock file beside the database refuses a second one. Replicas need PostgreSQL.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import asyncpg
import sqlalchemy.exc
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from servicekit.database.file_copy import copy_before_upgrade, copy_place
from servicekit.database.outages import OUTAGES, is_outage, note_gone, outages_translated
from servicekit.database.schema import Schema
from servicekit.database.sqlite import sqlite_engine
from servicekit.errors import StartupError
from servicekit.observability.logging import get_logger
from servicekit.rpc.address import Address

__all__ = ["CONNECT_TIMEOUT", "Database", "migrate_database", "open_database", "outages_translated"]

log = get_logger(__name__)

Dialect = Literal["sqlite", "postgresql"]
NewerSchema = Literal["serve", "refuse"]
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
FORMS = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE, with % codes for what is special in a URL"
TLS_OPTIONS = {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl"}  # of a URL, as libpq knows them
CONNECT_TIMEOUT = 5.0  # seconds
QUERY_TIMEOUT = 2.0  # seconds for one read() or write() block
MIGRATE_WAIT = 60.0  # seconds that a start waits for another process that migrates the same database


@dataclass(frozen=True)
class Database:
    """An open database. Cold paths use read() and write(); a hot path may use `url` with a driver of its own."""

    engine: AsyncEngine
    patient_engine: AsyncEngine  # without a limit to a statement
    dialect: Dialect
    url: URL
    schema: str | None
    # SQLite has one writer. Those that wait do so here, in the order in which they came and without a connection: in
    # SQLite itself they would poll, the unlucky one starves, and one that gives up there can leave the file locked.
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection without a transaction, for what belongs to the server's session. Raises DatabaseUnavailable."""
        with outages_translated(write=False):
            async with self.patient_engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                yield connection

    async def reconnect(self) -> None:
        """Closes the connections that wait for work: somebody found that the database is elsewhere now."""
        with suppress(Exception):  # it is gone: so is whom one would take leave of
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self.engine.dispose()
                await self.patient_engine.dispose()

    @asynccontextmanager
    async def read(self, timeout: float | None = QUERY_TIMEOUT) -> AsyncIterator[AsyncSession]:
        """One transaction for reading, a consistent snapshot on SQLite. Raises DatabaseUnavailable.

        `timeout` None: for as long as it takes, on one of a few connections whose statements have no limit either.
        """
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
    async def _session(self, *, write: bool, timeout: float | None) -> AsyncIterator[AsyncSession]:
        with outages_translated(write=write):
            async with asyncio.timeout(timeout), AsyncExitStack() as stack:
                if write and self.dialect == "sqlite":
                    await stack.enter_async_context(self._turn)
                engine = self.engine if timeout is not None else self.patient_engine
                connection = await stack.enter_async_context(engine.connect())
                await connection.execution_options(write=write)
                async with connection.begin(), AsyncSession(bind=connection, expire_on_commit=False) as session:
                    yield session
                    await session.flush()


@asynccontextmanager
async def open_database(
    url: str,
    *,
    migrations: Path,
    schema: str | None = None,
    setting: str = "DATABASE_URL",
    synchronous: str = "NORMAL",
    migrate: bool = True,
    migrate_command: str = "the service's migrate command",
    ca_file: Path | None = None,
    newer_schema: NewerSchema = "serve",
) -> AsyncIterator[Database]:
    """Opens, locks (SQLite) and migrates a database. Raises StartupError: names the setting, hides the password.

    migrate=False only checks: StartupError when the schema is older than this version needs. `ca_file`: PostgreSQL must
    show a certificate for the host in the URL, signed by an authority in this file. `newer_schema`: whether to serve on
    a schema that a later version made. A SQLite file is copied before it is migrated (file_copy.py).
    """
    parsed, dialect = _parse(url, setting, ca_file)
    versions = Schema(migrations, schema, refuse=_instead(parsed, dialect, setting) if newer_schema == "refuse" else "")
    async with _single_process(parsed, wait=0) if dialect == "sqlite" else nullcontext():
        if migrate:
            await _upgrade(parsed, dialect, versions, schema, setting, wait=MIGRATE_WAIT)
        engine = _engine(parsed, dialect, schema, synchronous)
        patient = engine if dialect == "sqlite" else _engine(parsed, dialect, schema, synchronous, command_timeout=None)
        try:
            if not migrate:
                with _failures(setting, engine):
                    await versions.check(engine, migrate_command)
            yield Database(engine, patient, dialect, parsed, schema)
        finally:
            await engine.dispose()
            await patient.dispose()


async def migrate_database(
    url: str,
    *,
    migrations: Path,
    schema: str | None = None,
    setting: str = "DATABASE_URL",
    wait: float = 60.0,
    ca_file: Path | None = None,
) -> str:
    """Brings a database up to date and gives its revision. Harmless to repeat, and from several processes at once.

    Waits at most `wait` seconds each for the database to answer and for another that migrates it. Raises StartupError.
    """
    parsed, dialect = _parse(url, setting, ca_file)
    versions = Schema(migrations, schema)
    if dialect == "sqlite":
        # A file that is up to date may be in use; only changing it takes its lock.
        if not await _file_is_current(parsed, versions, schema):
            async with _single_process(parsed, wait=wait):
                await _upgrade(parsed, dialect, versions, schema, setting, wait=wait)
    else:
        await _answers(parsed, schema, wait)
        await _upgrade(parsed, dialect, versions, schema, setting, wait=wait)
    return versions.newest


async def _upgrade(
    url: URL, dialect: Dialect, versions: Schema, schema: str | None, setting: str, *, wait: float
) -> None:
    """On an engine of its own: a migration may take longer than any statement of a service."""
    engine = _engine(url, dialect, schema, "NORMAL", command_timeout=None)
    try:
        with _failures(setting, engine):
            if dialect == "sqlite" and await versions.outdated(engine):
                copy = await asyncio.to_thread(copy_before_upgrade, Path(str(url.database)))
                log.info("database_copied", copy=str(copy))
            await versions.upgrade(engine, wait=wait)
    finally:
        await engine.dispose()


def _instead(url: URL, dialect: Dialect, setting: str) -> str:
    """What to do where a schema is too new."""
    what = "install the version that made it"
    if dialect == "sqlite":
        file = Path(str(url.database))
        # A log that belongs to another file would be written into the copy.
        what += f", or delete {file}-wal and {file}-shm and put {copy_place(file)} in the place of {file}, which loses"
        what += " what came after the upgrade"
    return f"{what}; or serve on it with {setting.removesuffix('DATABASE_URL')}NEWER_SCHEMA=serve"


async def _file_is_current(url: URL, versions: Schema, schema: str | None) -> bool:
    if not Path(str(url.database)).exists():
        return False
    engine = _engine(url, "sqlite", schema, "NORMAL")
    try:
        return await versions.current(engine)
    finally:
        await engine.dispose()


async def _answers(url: URL, schema: str | None, wait: float) -> None:
    """Returns when PostgreSQL takes connections, or after `wait` seconds: what is wrong then shows at the next step."""
    deadline = asyncio.get_running_loop().time() + wait
    engine = _engine(url, "postgresql", schema, "NORMAL")
    try:
        while asyncio.get_running_loop().time() < deadline:
            try:
                async with engine.connect():
                    return
            except (*OUTAGES, sqlalchemy.exc.DBAPIError) as error:
                if not is_outage(error):
                    return
                log.info("database_awaited", error=type(error).__name__)
            await asyncio.sleep(0.5)
    finally:
        await engine.dispose()


@contextmanager
def _failures(setting: str, engine: AsyncEngine) -> Iterator[None]:
    """What a driver raises while a database is opened, in words for the operator and without the password."""
    try:
        yield
    except (*OUTAGES, asyncpg.PostgresError, sqlalchemy.exc.DBAPIError) as error:
        cause = getattr(error, "orig", None) or error
        raise StartupError(
            f"{setting}: cannot open {_shown(engine.url)}: {cause}; start the database or correct the setting"
        ) from None
    except TypeError:  # asyncpg takes the URL's options as arguments
        if not engine.url.query:
            raise
        options = ", ".join(sorted(engine.url.query))
        raise StartupError(
            f"{setting}: one of the options behind its ? is not known: {options}; leave it out"
        ) from None


def _parse(url: str, setting: str, ca_file: Path | None = None) -> tuple[URL, Dialect]:
    try:
        parsed = make_url(url)
        driver = DRIVERS[parsed.drivername]
    except (sqlalchemy.exc.ArgumentError, KeyError, ValueError):  # ValueError: a port that is no number
        raise StartupError(f"{setting} must be {FORMS}") from None
    if driver.startswith("sqlite"):
        if parsed.host or parsed.username:
            raise StartupError(f"{setting} must be {FORMS}; a path on this machine has three slashes before it")
        if "?" in url and not parsed.query:
            raise StartupError(f"{setting}: a ? in the path is written with %3F instead")
        path = Path(parsed.database or "")
        if not parsed.database or not path.parent.is_dir():
            raise StartupError(
                f"{setting}: the folder of {parsed.database or 'the database'} does not exist; make it first"
            )
        return parsed.set(drivername=driver), "sqlite"
    if "@" in (parsed.host or ""):
        raise StartupError(f"{setting}: a password with an @ in it is written with %40 instead")
    return _verified(parsed.set(drivername=driver), ca_file), "postgresql"


def _verified(url: URL, ca_file: Path | None) -> URL:
    """The URL with what asyncpg needs to check the server's certificate. Raises StartupError: no such file."""
    if ca_file is not None:
        try:
            ssl.create_default_context(cafile=str(ca_file))
        except (OSError, ssl.SSLError):
            raise StartupError(f"the authority of the database's certificate cannot be read from {ca_file}") from None
        return url.update_query_dict({"sslmode": "verify-full", "sslrootcert": str(ca_file)})
    mode = url.query.get("sslmode", "")
    if url.host and mode not in ("verify-full", "verify-ca") and not _on_this_machine(url.host):
        log.warning("database_not_verified", host=url.host)
    return url


def _on_this_machine(host: str) -> bool:
    return host.startswith("/") or Address(host, 0).loopback


@asynccontextmanager
async def _single_process(url: URL, *, wait: float) -> AsyncIterator[None]:
    """Holds the file's lock. Raises StartupError: another process had it for more than `wait` seconds."""
    deadline = asyncio.get_running_loop().time() + wait
    handle = os.open(f"{url.database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _locked(handle):
            if asyncio.get_running_loop().time() >= deadline:
                raise StartupError(
                    f"another process uses {url.database}; stop it, or use PostgreSQL, which several replicas can share"
                )
            await asyncio.sleep(0.1)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _engine(
    url: URL, dialect: Dialect, schema: str | None, synchronous: str, command_timeout: float | None = 30
) -> AsyncEngine:
    if dialect == "postgresql":
        server_settings = {"search_path": schema} if schema else {}
        arguments = {"timeout": CONNECT_TIMEOUT, "command_timeout": command_timeout, "server_settings": server_settings}
        sizes: dict[str, Any] = {"pool_size": 5, "max_overflow": 10, "pool_timeout": QUERY_TIMEOUT}
        if TLS_OPTIONS & url.query.keys():  # SQLAlchemy would hand them on as arguments, which asyncpg does not know
            dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
            plain = url.set(query={})
            connect = partial(asyncpg.connect, dsn, **arguments)
            engine = create_async_engine(plain, hide_parameters=True, async_creator=connect, **sizes)
        else:
            engine = create_async_engine(url, hide_parameters=True, connect_args=arguments, **sizes)
        event.listen(engine.sync_engine, "handle_error", note_gone)
        return engine
    engine = sqlite_engine(url, synchronous)
    event.listen(engine.sync_engine, "handle_error", note_gone)
    return engine


def _shown(url: URL) -> str:
    """Where a database is, without what may be secret: a password may stand among the options too."""
    public = {name: value for name, value in url.query.items() if name in ("host", "port")}
    return url.set(password=None, query=public).render_as_string()
