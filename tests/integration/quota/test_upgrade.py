"""From the version before partitions (revision 0002) to the newest, while requests go on; and what that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, make_url, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateTable

from common.hold_id import new_hold_id
from servicekit.clock import SystemClock
from servicekit.database.database import open_database
from servicekit.database.schema import Schema
from servicekit.errors import StartupError
from services.quota.domain.calendar import day_and_month, month_after, start_of_month_us
from services.quota.domain.operations import Grant, Progress, Reserve, Settle
from services.quota.domain.outcomes import Reserved, Settled
from services.quota.migrate import MIGRATIONS
from services.quota.store.batch import columns
from services.quota.store.postgres.store import PLANS, PostgresStore
from services.quota.store.reading.reader import Reader
from services.quota.tables import AccountRow, Base, ChargeRow, KeyRow, UsageByRow
from tests.fakes import FakeClock
from tests.integration.quota.conftest import opened, patiently, reserve

PER_CLIENT, CLIENTS = 60, 6
CLOCK = SystemClock()
# The columns of charges that came with 0011.
LATER = columns.CHARGE[columns.CHARGE.index("estimated") + 1 :]
# How the version before looks up holds, word for word; it writes as this one does where no partition is known.
OWNERS_BEFORE = "SELECT account_id FROM charges WHERE hold_id = ANY($1::bytea[])"
HOLDS_BEFORE = (
    "SELECT c.hold_id, c.credits, c.state, m.spent FROM charges c"
    " LEFT JOIN key_months m ON m.key_id = c.key_id AND m.month = c.month WHERE c.hold_id = ANY($1::bytea[])"
)
TIMES_BEFORE = (
    "SELECT r.id, c.seq, c.reserved_us FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS r(id, low, high)"
    " JOIN charges c ON c.account_id = r.id AND c.seq BETWEEN r.low AND r.high"
)
FIRST_BEFORE = "SELECT first_admission($1, $2, $3, $4)"
OLD_TABLES = text("SELECT count(*) FROM pg_class WHERE relname LIKE 'charges\\_before\\_%' AND relkind = 'r'")


async def upgrade(url: str, target: str) -> None:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))
    await Schema(MIGRATIONS).upgrade(engine, wait=10, target=target)
    await engine.dispose()


async def add_later_columns(url: str) -> None:
    """So that today's statements, which name them, can stand for those of the version before."""
    connection = await asyncpg.connect(url)
    for table in (AccountRow, KeyRow, ChargeRow):
        for column in inspect(table).local_table.columns:
            kind = column.type.compile(dialect=postgresql.dialect())
            default = f" DEFAULT {column.server_default.arg}" if column.server_default is not None else ""
            await connection.execute(
                f"ALTER TABLE {table.__tablename__} ADD COLUMN IF NOT EXISTS {column.name} {kind}{default}"
            )
    usage_by = CreateTable(inspect(UsageByRow).local_table).compile(dialect=postgresql.dialect())
    await connection.execute(str(usage_by))
    await connection.close()


@pytest.fixture
async def before(postgres_url: str) -> AsyncIterator[PostgresStore]:
    """A replica that began on revision 0002."""
    await upgrade(postgres_url, "0002")
    await add_later_columns(postgres_url)
    store = await PostgresStore.open(make_url(postgres_url).set(drivername="postgresql+asyncpg"))
    yield store
    await store.close()


async def request(store: PostgresStore, account: str) -> bytes:
    hold_id = new_hold_id(CLOCK.now_us())
    operation = Reserve(hold_id, b"s" * 16, account, f"k-{account}", "m", reserve("x").price, 10, 100, 1, 1, 1, 10**6)
    assert isinstance((await patiently(store, operation))[0], Reserved)
    await patiently(store, Progress(hold_id, 30))
    assert await patiently(store, Settle(hold_id, 40)) == [Settled(10 + 40 * 3)]
    return hold_id


async def test_a_replica_of_the_version_before_serves_through_the_upgrade(
    before: PostgresStore, postgres_url: str
) -> None:
    accounts = [f"a{number}" for number in range(CLIENTS)]
    await before.apply([Grant(f"g-{each}", each, 10**6) for each in accounts])
    # Connections that have prepared their statements on the old table.
    connection = await asyncpg.connect(postgres_url, server_settings=PLANS)
    ids, begun = [await request(before, "a0")], asyncio.Event()
    lookups = [await connection.prepare(each) for each in (OWNERS_BEFORE, HOLDS_BEFORE, TIMES_BEFORE, FIRST_BEFORE)]

    async def client(account: str) -> None:
        for _ in range(PER_CLIENT):
            ids.append(await request(before, account))
            if len(ids) >= CLIENTS:
                begun.set()

    load = [asyncio.create_task(client(each)) for each in accounts]
    await asyncio.wait_for(begun.wait(), 30)
    await upgrade(postgres_url, "head")
    assert len(ids) < CLIENTS * PER_CLIENT, "the load ended before the upgrade did"
    await asyncio.gather(*load)

    assert len(ids) == 1 + CLIENTS * PER_CLIENT
    assert len(await lookups[0].fetch(ids)) == len(ids)
    assert {row["credits"] for row in await lookups[1].fetch(ids)} == {130}
    assert len(await lookups[2].fetch(["a1"], [1], [PER_CLIENT])) == PER_CLIENT
    assert await lookups[3].fetchval("a1", 1, PER_CLIENT, CLOCK.now_us() - 60_000_000) == 1
    await connection.close()

    async with open_database(postgres_url, migrations=MIGRATIONS) as database:
        after = await PostgresStore.open(database.url)
        ids += [await request(store, each) for each in accounts for store in (after, before)]
        await after.do_housekeeping(1)
        assert len(await Reader(database).charges("a0", 1000, None)) == PER_CLIENT + 1 + 2
        assert (await Reader(database).recount()).differences == []
        await after.close()


async def test_the_old_table_is_deleted_from_as_its_months_pass_and_then_dropped(
    before: PostgresStore, postgres_url: str
) -> None:
    await before.apply([Grant("g", "a", 10**6)])
    for _ in range(5):
        await request(before, "a")
    await upgrade(postgres_url, "head")
    month = day_and_month(CLOCK.now_us())[1]
    clock = FakeClock(CLOCK.now_us())
    async with opened(postgres_url, clock) as (database, store):
        reader = Reader(database)
        for months, kept, tables in ((1, 5, 1), (2, 0, 1), (3, 0, 0)):  # the old table holds this month and the next
            clock.advance((start_of_month_us(month_after(month, months)) - clock.now_us()) / 1e6 + 86_400)
            while await store.do_housekeeping(1) < 1:
                pass
            assert len(await reader.charges("a", 10, None)) == kept
            assert (await reader.recount()).differences == []
            async with database.read() as session:
                assert (await session.exec(OLD_TABLES)).scalar_one() == tables  # type: ignore[call-overload]


async def test_the_upgrade_waits_for_a_long_reader_and_requests_do_not(
    before: PostgresStore, postgres_url: str
) -> None:
    await before.apply([Grant("g", "a", 10**6)])
    reader = await asyncpg.connect(postgres_url)
    async with reader.transaction(isolation="repeatable_read"):
        await reader.fetch("SELECT count(*) FROM charges")
        upgrading = asyncio.create_task(upgrade(postgres_url, "head"))
        for _ in range(40):  # they would wait for the reader too if the upgrade did not give way
            await request(before, "a")
            await asyncio.sleep(0.05)
        assert not upgrading.done()
    await upgrading
    await request(before, "a")
    await reader.close()


async def test_ids_from_far_ahead_move_to_the_default_partition(before: PostgresStore, postgres_url: str) -> None:
    """The version before took any id."""
    await before.apply([Grant("g", "a", 10**6)])
    await request(before, "a")
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("UPDATE charges SET hold_id = '\\xffffffffffff00000000000000000000'")
    await upgrade(postgres_url, "head")
    assert await connection.fetchval("SELECT tableoid::regclass::text FROM charges") == "charges_default"
    await connection.close()


async def test_an_open_hold_from_far_ahead_stops_the_upgrade_with_what_to_do(
    before: PostgresStore, postgres_url: str
) -> None:
    await before.apply([Grant("g", "a", 10**6)])
    await request(before, "a")
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        "UPDATE charges SET hold_id = '\\xffffffffffff00000000000000000000', state = 1, ended_us = NULL"
    )
    with pytest.raises(StartupError, match=r"1 open holds have ids from .* set the edges' clocks"):
        await upgrade(postgres_url, "head")
    await connection.execute("UPDATE charges SET state = 3, ended_us = 0")
    await upgrade(postgres_url, "head")
    await connection.close()


async def test_the_version_before_writes_charges_on_the_new_schema(database_url: str) -> None:
    """It names its columns, so the new ones get their defaults: confirmed, nothing given back, exact."""
    names = [name for name in columns.CHARGE if name not in ("unconfirmed", "refunded", "estimated", *LATER)]
    operation = reserve("old", made_us=CLOCK.now_us())
    values: dict[str, Any] = dict.fromkeys(names, 0) | {
        "hold_id": operation.hold_id,
        "session_id": b"s" * 16,
        "account_id": "a",
        "key_id": "k",
        "model": "m",
        "state": 2,
        "seq": 1,
        "key_seq": None,
        "day": "2026-11-26",
        "month": 202611,
        "credits": 7,
    }
    statement = f"INSERT INTO charges ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
    async with open_database(database_url, migrations=MIGRATIONS) as database:
        async with database.write() as session:
            await (await session.connection()).execute(text(statement), values)
        row, _ = await Reader(database).charge(operation.hold_id)
    assert (row.credits, row.unconfirmed, row.refunded, row.estimated) == (7, False, 0, False)


async def test_a_migrated_database_is_what_the_tables_say(database_url: str) -> None:
    """In PostgreSQL but for the indexes of charges, which are those of its partitions."""

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"include_name": _ours})
        return list(compare_metadata(context, Base.metadata))

    async with open_database(database_url, migrations=MIGRATIONS) as database, database.engine.connect() as connection:
        found = await connection.run_sync(differences)
    if database.dialect == "postgresql":
        found = [each for each in found if each[0] != "add_index" or not each[1].name.startswith("charges_")]
    assert found == []


def _ours(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or not str(name).startswith("charges_")
