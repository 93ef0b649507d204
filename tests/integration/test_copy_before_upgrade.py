"""SQLite files are copied before a migration changes them, and `refuse` refuses what a later version made."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from servicekit.database.database import migrate_database, open_database
from servicekit.database.schema import Schema
from servicekit.errors import StartupError
from services.quota.migrate import MIGRATIONS

BEFORE = "0005"  # of dc3a068


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """The books of an earlier version, with one mark in them."""
    place = tmp_path / "quota.db"
    engine = create_async_engine(f"sqlite+aiosqlite:///{place}")
    await Schema(MIGRATIONS).upgrade(engine, wait=10, target=BEFORE)
    await engine.dispose()
    change(place, "CREATE TABLE mark (word TEXT)", "INSERT INTO mark VALUES ('before')")
    place.chmod(0o600)
    return place


def change(file: Path, *statements: str) -> None:
    """Commits statements."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def read(file: Path, statement: str) -> list[str]:
    """The first column."""
    with closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute(statement)]


def revision(file: Path) -> str:
    return read(file, "SELECT version_num FROM alembic_version")[0]


def copy_of(file: Path) -> Path:
    return file.with_name("quota.db.before-upgrade")


async def start(file: Path, **options: str) -> None:
    """A start of the service as far as its database."""
    async with open_database(f"sqlite:///{file}", migrations=MIGRATIONS, **options):  # type: ignore[arg-type]
        pass


async def test_a_start_that_migrates_leaves_a_copy_of_what_was_there_before(file: Path) -> None:
    await start(file)
    assert revision(file) == Schema(MIGRATIONS).newest
    assert revision(copy_of(file)) == BEFORE
    assert read(copy_of(file), "SELECT word FROM mark") == ["before"]
    assert copy_of(file).stat().st_mode & 0o777 == 0o600


async def test_the_migrate_command_leaves_a_copy_too(file: Path) -> None:
    await migrate_database(f"sqlite:///{file}", migrations=MIGRATIONS)
    assert revision(copy_of(file)) == BEFORE


async def test_a_start_without_a_pending_migration_leaves_the_last_copy_as_it_is(file: Path) -> None:
    await start(file)
    change(file, "INSERT INTO mark VALUES ('after')")
    await start(file)
    assert read(copy_of(file), "SELECT word FROM mark") == ["before"]


async def test_a_new_database_has_no_copy(tmp_path: Path) -> None:
    await start(tmp_path / "quota.db")
    assert not copy_of(tmp_path / "quota.db").exists()


async def test_the_copy_of_the_next_upgrade_takes_the_place_of_the_last_one(file: Path) -> None:
    copy_of(file).write_bytes(b"of an earlier upgrade")
    copy_of(file).with_name("quota.db.before-upgrade.part").write_bytes(b"of one that was cut short")
    await start(file)
    assert read(copy_of(file), "SELECT word FROM mark") == ["before"]
    assert sorted(path.name for path in file.parent.glob("*before*")) == ["quota.db.before-upgrade"]


async def test_nothing_is_migrated_when_the_copy_cannot_be_made(file: Path) -> None:
    (copy_of(file) / "occupied").mkdir(parents=True)
    with pytest.raises(StartupError, match=r"cannot copy .*quota\.db to .* nothing was changed: make room"):
        await start(file)
    assert revision(file) == BEFORE


async def test_the_copy_serves_in_the_place_of_the_database(file: Path) -> None:
    await start(file)
    for log in ("quota.db-wal", "quota.db-shm"):
        file.with_name(log).unlink(missing_ok=True)
    copy_of(file).replace(file)
    await start(file)
    assert read(file, "SELECT word FROM mark") == ["before"]


async def test_a_schema_of_a_later_version_is_refused_with_file_version_and_what_to_do(file: Path) -> None:
    await start(file)
    change(file, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartupError) as refused:
        await start(file, newer_schema="refuse", setting="MUHGPT_QUOTA_DATABASE_URL")
    said = str(refused.value)
    assert "schema is 9999" in said
    assert f"newer than this version's, {Schema(MIGRATIONS).newest}" in said
    assert f"delete {file}-wal and {file}-shm and put {copy_of(file)} in the place of {file}" in said
    assert "MUHGPT_QUOTA_NEWER_SCHEMA=serve" in said
    await start(file)  # by default it serves, since migrations only add
