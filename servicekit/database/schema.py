"""A service's schema: brought up to date by one process at a time, and old and new versions side by side on it.

Migrations only ever go forward, and only ever add: the version before must go on working on the new schema, because it
does while pods are exchanged one by one. So a process that meets a schema from the future serves on. A migration that
an older version cannot live with says so in its revision's name, `0007-needs-0005`: code whose own newest revision is
below 0005 refuses to start on it. Later revisions carry the note on.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from servicekit.errors import StartupError
from servicekit.observability.logging import get_logger

log = get_logger(__name__)

POLL = 0.25  # seconds between two looks for the lock
LOCK = "SELECT pg_try_advisory_lock(hashtext(:name))"
LOCK_TRIES, LOCK_WAIT_MS, LOCK_PAUSE = 120, 300, 1.0  # the pause in seconds
LOCK_NOT_AVAILABLE = "55P03"
SCHEMA_EXISTS = "SELECT count(*) FROM pg_namespace WHERE nspname = :schema"


class Schema:
    """The migrations in one folder, against one database. `name` is PostgreSQL's schema, None: the default one."""

    def __init__(self, migrations: Path, name: str | None = None, *, refuse: str = "") -> None:
        """`refuse`: what to do instead of serving on a schema that is newer than this version; empty: it serves."""
        self._refuse = refuse
        self._migrations = migrations
        self._name = name
        self._scripts = ScriptDirectory(str(migrations))

    @property
    def newest(self) -> str:
        """The revision that this version of the code was written for."""
        return str(self._scripts.get_current_head())

    async def revision(self, connection: AsyncConnection) -> str | None:
        """The database's own; None: it is empty."""
        return await connection.run_sync(self._revision)

    async def current(self, engine: AsyncEngine) -> bool:
        """Whether nothing is left to do. Raises StartupError: the schema is too new for this version."""
        async with engine.connect() as connection:
            return self._serves(await self.revision(connection))

    async def outdated(self, engine: AsyncEngine) -> bool:
        """Whether an upgrade would change tables that are there."""
        async with engine.connect() as connection:
            found = await self.revision(connection)
        return found is not None and found != self.newest and self._knows(found)

    async def check(self, engine: AsyncEngine, command: str) -> None:
        """Raises StartupError naming `command`: the database is behind; or it is too new."""
        async with engine.connect() as connection:
            found = await self.revision(connection)
        if not self._serves(found):
            raise StartupError(
                f"the database's schema is {found or 'empty'}, this version needs {self.newest}; run first: {command}"
            )

    async def upgrade(self, engine: AsyncEngine, *, wait: float, target: str = "head") -> None:
        """Brings the database up to date, each revision in a transaction of its own; does nothing when it is.

        On PostgreSQL all of it is done under an advisory lock, so that of several processes one works and the others
        find the work done. A test may name the revision at which to stop. Raises StartupError: another held the lock
        longer than `wait` seconds, or the schema is too new for this version.
        """
        async with engine.connect() as connection:
            try:
                if engine.dialect.name == "postgresql":
                    await self._lock(connection, wait)
                    await self._create_schema(connection)
                if not self._serves(await self.revision(connection)):
                    await connection.run_sync(self._upgrade, target)
            finally:
                await connection.invalidate()  # whatever happened, the lock ends with its connection

    async def _lock(self, connection: AsyncConnection, wait: float) -> None:
        deadline = asyncio.get_running_loop().time() + wait
        name = {"name": f"migrate:{self._name}"}
        while not (await connection.execute(text(LOCK), name)).scalar_one():
            await connection.rollback()
            if asyncio.get_running_loop().time() > deadline:
                raise StartupError(
                    f"another process has been migrating this database for {wait:g} s; look at its log, then try again"
                )
            await asyncio.sleep(POLL)
        await connection.commit()

    async def _create_schema(self, connection: AsyncConnection) -> None:
        # Asking first: CREATE SCHEMA IF NOT EXISTS needs the right to create one even where it exists.
        if self._name and not (await connection.execute(text(SCHEMA_EXISTS), {"schema": self._name})).scalar_one():
            await connection.execute(text(f'CREATE SCHEMA "{self._name}"'))
        await connection.commit()

    def _revision(self, connection: Connection) -> str | None:
        found = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        return found

    def _upgrade(self, connection: Connection, target: str) -> None:
        config = Config()
        config.set_main_option("script_location", str(self._migrations).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, target)

    def _serves(self, found: str | None) -> bool:
        """Whether this version can serve on what was found; False: it must be brought up to date first."""
        if found == self.newest:
            return True
        if found is None or self._knows(found):
            return False
        if (needs := least_needed(found)) is not None and _number(self.newest) < needs:
            raise StartupError(
                f"the database's schema is {found}, for versions with schema {needs:04d} or newer; this one has"
                f" {self.newest}: install a newer version, or restore the backup that was made before the upgrade"
            )
        if self._refuse:
            raise StartupError(
                f"the database's schema is {found}, which is newer than this version's, {self.newest}: {self._refuse}"
            )
        log.warning("schema_is_newer", found=found, known=self.newest)
        return True

    def _knows(self, revision: str) -> bool:
        return revision in {each.revision for each in self._scripts.walk_revisions()}


def lock_table(connection: Connection, table: str) -> None:
    """For a migration: locks a table that is in use, so that statements which need it whole then take no time.

    Whoever waits for such a lock makes everybody who comes later wait behind it. So this waits briefly and often, and
    requests go on in between, while a dump of the database, say, holds it. Raises StartupError when it never got it.
    """
    connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}"))
    for _ in range(LOCK_TRIES):
        try:
            with connection.begin_nested():
                connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            return
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != LOCK_NOT_AVAILABLE:
                raise
            connection.execute(text(f"SELECT pg_sleep({LOCK_PAUSE})"))
    raise StartupError(
        f"the table {table} was in use at each of {LOCK_TRIES} tries, by a dump perhaps: try again later"
    )


def least_needed(revision: str) -> int | None:
    """The oldest schema whose code can use this revision, as its name says; None: every one can."""
    match = re.search(r"-needs-(\d+)$", revision)
    return int(match[1]) if match else None


def _number(revision: str) -> int:
    return int(revision.partition("-")[0])


def run_migrations(metadata: MetaData) -> None:
    """What a service's migrations/env.py calls; Schema.upgrade passes the connection."""
    connection: Connection = context.config.attributes["connection"]
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()
