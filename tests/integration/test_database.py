"""servicekit's database: many writers at once, one process a file, start-up errors that name what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

import services.auth
from servicekit.database.database import open_database
from servicekit.errors import DatabaseUnavailable, StartupError
from services.auth.tables import AccountRow

LONG = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) SELECT count(*) FROM n"
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


@pytest.mark.parametrize("later", range(12))
async def test_a_call_cancelled_again_while_its_connection_closes_ends(sqlite_url: str, later: int) -> None:
    """As when a process ends in the middle of a count: first the drain time of calls is over, then the loop."""
    async with open_database(sqlite_url, migrations=MIGRATIONS) as database:

        async def count() -> None:
            async with database.read(timeout=None) as session:
                await (await session.connection()).execute(text(LONG))

        before = asyncio.all_tasks()
        counting = asyncio.create_task(count())
        await asyncio.wait([counting], timeout=0.1)
        counting.cancel()
        for _ in range(later):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - before
        for task in left:
            task.cancel()
        _, pending = await asyncio.wait(left, timeout=5)
        assert not pending


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
