"""`python -m services.<name>.migrate`, as an init container runs it; and what each version does on another's schema."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from servicekit.database.database import open_database
from servicekit.errors import StartupError
from services.auth.migrate import MIGRATIONS as AUTH
from services.quota.migrate import MIGRATIONS as QUOTA

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0  # seconds; a command takes one or two
MIGRATIONS = {"auth": AUTH, "quota": QUOTA}
TABLES = {"auth": "api_keys", "quota": "ledger"}
# Another session that has asked for the lock.
ASKING = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%pg_try_advisory_lock%'"


async def migrate(service: str, url: str, *arguments: str, **settings: str) -> tuple[int, str]:
    """Exit code, and what was written to stderr."""
    prefix = f"MUHGPT_{service.upper()}_"
    environment = {"PATH": os.environ["PATH"], f"{prefix}DATABASE_URL": url}
    environment |= {prefix + name: value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"services.{service}.migrate", *arguments,
        env=environment, cwd=ROOT, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, output = await asyncio.wait_for(process.communicate(), DEADLINE)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize("service", ["auth", "quota"])
async def test_the_command_may_run_several_times_at_once_and_again(service: str, database_url: str) -> None:
    together = await asyncio.gather(*(migrate(service, database_url) for _ in range(3)))
    again = await migrate(service, database_url, LISTEN="0.0.0.0:7000")  # a pod's other settings may be set
    for code, output in (*together, again):
        assert code == 0, output
        assert "database_up_to_date" in output
    opened = open_database(database_url, migrations=MIGRATIONS[service], migrate=False)
    async with opened as database, database.read() as session:
        count = await session.exec(text(f"SELECT count(*) FROM {TABLES[service]}"))  # type: ignore[call-overload]
        assert count.scalar_one() == 0


async def test_a_file_that_is_up_to_date_may_be_in_use(sqlite_url: str) -> None:
    async with open_database(sqlite_url, migrations=QUOTA):
        assert (await migrate("quota", sqlite_url, "--wait", "0"))[0] == 0


async def test_a_file_that_is_behind_and_in_use_is_refused_with_what_to_do(sqlite_url: str) -> None:
    async with open_database(sqlite_url, migrations=QUOTA) as database:
        async with database.write() as session:
            await session.exec(text("UPDATE alembic_version SET version_num = '0001'"))  # type: ignore[call-overload]
        code, output = await migrate("quota", sqlite_url, "--wait", "0.2")
    assert code == 2
    assert "another process uses" in output


async def test_another_that_migrates_too_long_is_named_after_the_wait(postgres_url: str) -> None:
    other = await asyncpg.connect(postgres_url)
    await other.execute("SELECT pg_advisory_lock(hashtext('migrate:None'))")
    try:
        code, output = await migrate("quota", postgres_url, "--wait", "0.5")
        assert code == 2
        assert "another process has been migrating this database for 0.5 s" in output
        waiting = asyncio.create_task(migrate("quota", postgres_url))
        while not await other.fetchval(ASKING):
            assert not waiting.done()
            await asyncio.sleep(0.02)
    finally:
        await other.close()
    code, output = await waiting
    assert code == 0, output


async def test_a_database_that_stays_away_is_named_without_its_password() -> None:
    began = time.monotonic()
    code, output = await migrate("auth", "postgresql://me:very-secret@127.0.0.1:1/books", "--wait", "1")
    assert code == 2
    assert "MUHGPT_AUTH_DATABASE_URL: cannot open postgresql" in output
    assert "very-secret" not in output
    assert 1 <= time.monotonic() - began < 30


async def test_a_command_with_a_mistyped_setting_says_so(sqlite_url: str) -> None:
    code, output = await migrate("quota", sqlite_url, DATABASE_SHEMA="x")
    assert code == 2
    assert "unknown setting MUHGPT_QUOTA_DATABASE_SHEMA; did you mean MUHGPT_QUOTA_DATABASE_SCHEMA?" in output


@pytest.mark.parametrize("service", ["auth", "quota"])
async def test_a_process_that_may_not_migrate_refuses_an_older_schema(service: str, database_url: str) -> None:
    opened = open_database(
        database_url, migrations=MIGRATIONS[service], migrate=False, migrate_command=f"services.{service}.migrate"
    )
    with pytest.raises(StartupError, match=rf"schema is empty, .* run first: services\.{service}\.migrate"):
        async with opened:
            pass


@pytest.mark.parametrize("may_migrate", [True, False])
async def test_an_older_version_serves_on_a_newer_schema(database_url: str, may_migrate: bool) -> None:
    """As while pods are exchanged one by one: migrations only add."""
    await _migrated(database_url)
    await _set_revision(database_url, "9999")
    async with (
        open_database(database_url, migrations=AUTH, migrate=may_migrate) as database,
        database.read() as session,
    ):
        found = await session.exec(text("SELECT version_num FROM alembic_version"))  # type: ignore[call-overload]
        assert found.scalar_one() == "9999"
    assert (await migrate("auth", database_url))[0] == 0


@pytest.mark.parametrize("may_migrate", [True, False])
async def test_an_older_version_refuses_a_schema_that_says_it_cannot_live_with(
    database_url: str, may_migrate: bool
) -> None:
    await _migrated(database_url)
    await _set_revision(database_url, "9999-needs-9000")
    with pytest.raises(StartupError, match=r"for versions with schema 9000 or newer.*install a newer version"):
        async with open_database(database_url, migrations=AUTH, migrate=may_migrate):
            pass
    await _set_revision(database_url, "9999-needs-0001")
    async with open_database(database_url, migrations=AUTH, migrate=may_migrate):
        pass


async def _migrated(url: str) -> None:
    async with open_database(url, migrations=AUTH):
        pass


async def _set_revision(url: str, revision: str) -> None:
    statement = f"UPDATE alembic_version SET version_num = '{revision}'"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute(statement)
        return
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()
