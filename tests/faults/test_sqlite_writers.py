"""Many who write to one SQLite file, some of whom give up in the middle: the others get their turn."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlmodel import col, update

import services.auth
from servicekit.database.database import Database, open_database
from servicekit.errors import DatabaseUnavailable
from services.auth.store.sequence import LockedSequence
from services.auth.tables import SequenceRow

pytestmark = pytest.mark.beside

MIGRATIONS = Path(services.auth.__file__).parent / "migrations"


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    async with open_database(sqlite_url, migrations=MIGRATIONS) as database:
        yield database


@pytest.fixture
def _no_garbage_collector() -> Iterator[None]:
    """What a cancelled call leaves in memory must not matter."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_garbage_collector")
async def test_writers_that_give_up_in_the_middle_leave_the_file_unlocked(database: Database) -> None:
    failures = []
    for thousandths in range(1, 60, 3):

        async def write(timeout: float = thousandths / 5000) -> None:
            try:
                async with database.write(timeout) as session:
                    for _ in range(20):
                        await LockedSequence.take(session)
            except DatabaseUnavailable as error:
                failures.append(error)  # kept, with all that its traceback holds

        await asyncio.gather(*(write() for _ in range(4)))
        began = time.monotonic()
        async with database.write() as session:
            await session.exec(update(SequenceRow).values(last=col(SequenceRow.last) + 1))
        assert time.monotonic() - began < 1
    assert failures


async def test_writers_get_their_turn_in_the_order_in_which_they_came(database: Database) -> None:
    order = []

    async def write(number: int) -> None:
        async with database.write() as session:
            await LockedSequence.take(session)
            order.append(number)

    await asyncio.gather(*(write(number) for number in range(40)))
    assert order == list(range(40))
