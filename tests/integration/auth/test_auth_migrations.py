"""The migrations make what services/auth/tables.py describes."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from servicekit.database.database import open_database
from services.auth.migrate import MIGRATIONS
from services.auth.tables import Table


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), Table.metadata))


async def test_a_migrated_database_is_what_the_tables_say(database_url: str) -> None:
    for _ in range(2):  # a second start finds nothing to do
        database = open_database(database_url, migrations=MIGRATIONS)
        async with database as opened, opened.engine.connect() as connection:
            assert await connection.run_sync(differences) == []


async def test_on_postgresql_the_tables_go_into_the_schema_that_is_asked_for(postgres_url: str) -> None:
    database = open_database(postgres_url, migrations=MIGRATIONS, schema="auth")
    async with database as opened, opened.engine.connect() as connection:
        statement = text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'auth'")
        tables = set((await connection.execute(statement)).scalars())
    assert tables == {*Table.metadata.tables, "alembic_version"}
