"""servicekit's database: many writers at once, one process a file, start-up errors that name what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import services.auth
from servicekit.database import open_database
from servicekit.errors import DatabaseUnavailable, StartupError
from services.auth.tables import AccountRow

MIGRATIONS = Path(services.auth.__file__).parent / "migrations"


async def test_many_writers_at_once_all_get_their_turn(database_url: str) -> None:
    async with open_database(database_url, migrations=MIGRATIONS) as database:
        done = 0

        async def write() -> None:
            nonlocal done
            async with database.write() as session:
                await session.exec(AccountRow.__table__.select())  # type: ignore[attr-defined]
            done += 1

        await asyncio.gather(*(write() for _ in range(200)))
        assert done == 200


async def test_a_block_that_takes_too_long_is_an_outage_and_leaves_nothing(database_url: str) -> None:
    async with open_database(database_url, migrations=MIGRATIONS) as database:
        with pytest.raises(DatabaseUnavailable):
            async with database.write(timeout=0.05):
                await asyncio.Event().wait()
        async with database.write() as session:
            assert session.is_active


async def test_a_second_process_on_one_sqlite_file_is_refused(sqlite_url: str) -> None:
    async with open_database(sqlite_url, migrations=MIGRATIONS):
        with pytest.raises(StartupError, match=r"another process uses .*PostgreSQL"):
            async with open_database(sqlite_url, migrations=MIGRATIONS):
                pass


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://somewhere", "DATABASE_URL must be sqlite:///PATH or postgresql://"),
        ("nonsense", "DATABASE_URL must be sqlite:///PATH or postgresql://"),
        ("sqlite:////nowhere/at/all/x.db", "the folder of /nowhere/at/all/x.db does not exist"),
        ("postgresql://me:secret@127.0.0.1:1/x", "cannot open postgresql.*start the database or correct the setting"),
    ],
)
async def test_a_database_that_cannot_be_opened_is_named_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(StartupError, match=problem) as caught:
        async with open_database(url, migrations=MIGRATIONS):
            pass
    assert "secret" not in str(caught.value)
