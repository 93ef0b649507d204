"""The same store suite on both databases."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import services.quota
from servicekit.database.database import Database, open_database
from servicekit.errors import DatabaseUnavailable
from services.quota.domain.operations import Grant, Operation, Reserve
from services.quota.domain.outcomes import Outcome, Reason, Refused, Reserved
from services.quota.domain.pricing import Price
from services.quota.domain.store import Store
from services.quota.running.group_commit import Writer
from services.quota.running.guard import Guard
from services.quota.store.postgres.replica_memory import Memory
from services.quota.store.postgres.store import PostgresStore
from services.quota.store.reading.reader import Reader
from services.quota.store.sqlite.checkpoints import CHECKPOINT_INTERVAL
from services.quota.store.sqlite.store import SqliteStore
from tests import databases
from tests.fakes import FakeClock

MIGRATIONS = Path(services.quota.__file__).parent / "migrations"
PATIENCE = 60.0  # seconds, on a busy machine
SESSION = b"session-session-"
START_US = FakeClock().now_us()


@asynccontextmanager
async def opened(
    url: str,
    clock: FakeClock,
    *,
    checkpoint_interval: float = CHECKPOINT_INTERVAL,
    housekeeping: bool = True,
    migrate: bool = True,
    connect_to: Callable[..., sqlite3.Connection] = sqlite3.connect,
    memory: Memory | None = None,
) -> AsyncIterator[tuple[Database, Store]]:
    """A migrated database and its store, by the URL's kind."""
    async with open_database(url, migrations=MIGRATIONS, migrate=migrate) as database:
        store: Store
        if database.dialect == "sqlite":
            path = str(database.url.database)
            store = await SqliteStore.open(path, clock, checkpoint_interval=checkpoint_interval, connect_to=connect_to)
        else:
            store = await PostgresStore.open(database.url, clock=clock, memory=memory)
        if housekeeping:
            await store.do_housekeeping(None)  # partitions for the fake clock's months
        try:
            yield database, store
        finally:
            await store.close()


@asynccontextmanager
async def running(writer: Writer) -> AsyncIterator[None]:
    """The writer's shards at work."""
    task = asyncio.create_task(writer.run())
    try:
        yield
    finally:
        task.cancel()


@dataclass
class Ledger:
    """A store with shorthand for tests. Ids are short texts."""

    store: Store
    reader: Reader
    clock: FakeClock

    async def do(self, *operations: Operation) -> list[Outcome]:
        return await self.store.apply(operations)

    async def one(self, operation: Operation) -> Outcome:
        return (await self.store.apply([operation]))[0]

    async def grant(self, account: str, credits: int) -> None:
        await self.one(Grant(f"grant-{account}-{credits}-{self.clock.now_us()}", account, credits))

    async def money(self, account: str = "a") -> tuple[int, int]:
        balance = await self.reader.balance(account)
        return balance.balance, balance.held

    async def check(self) -> None:
        """The books balance."""
        counted = await self.reader.recount()
        assert counted.differences == []


async def patiently(store: Store, *operations: Operation) -> list[Outcome]:
    """As an edge does it: what the database did not answer in time is asked again, which is harmless."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await store.apply(operations)
            except DatabaseUnavailable:
                await asyncio.sleep(0.05)


def hold_id(name: str, made_us: int = START_US) -> bytes:
    """As an edge makes it, with a name in place of what is random."""
    return (made_us // 1000).to_bytes(6, "big") + name.encode().ljust(10, b".")


def reserve(
    name: str,
    account: str = "a",
    *,
    key: str | None = None,
    prompt: int = 10,
    max_tokens: int = 100,
    choices: int = 1,
    price: Price = Price(1_000_000, 3_000_000),  # noqa: B008 - frozen
    rpm: int = 60,
    ceiling: int | None = None,
    key_rpm: int | None = None,
    version: int = 1,
    session: bytes = SESSION,
    made_us: int = START_US,
    estimated: bool = False,
) -> Reserve:
    """A reservation at 1 and 3 credits a token."""
    return Reserve(
        hold_id=hold_id(name, made_us),
        session_id=session,
        account_id=account,
        key_id=key or f"key-of-{account}",
        model="muh-chat",
        price=price,
        prompt_tokens=prompt,
        max_tokens=max_tokens,
        choices=choices,
        account_version=version,
        key_version=version,
        requests_per_minute=rpm,
        monthly_credit_limit=ceiling,
        key_requests_per_minute=key_rpm,
        estimated=estimated,
    )


def judged(guard: Guard, operation: Reserve) -> Reserve:
    """As it comes to the writer, with what the replica knows of its account and key."""
    verdict = guard.judge(operation.account_id, operation.account_version, operation.key_id, operation.key_version)
    return replace(operation, **verdict._asdict())


def refused(outcome: Outcome) -> Reason:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason


def reserved(outcome: Outcome) -> Reserved:
    assert isinstance(outcome, Reserved), outcome
    return outcome


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with this version's schema."""
    file = tmp_path_factory.mktemp("template") / "quota.db"
    asyncio.run(_migrated(f"sqlite:///{file}"))
    return file


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """A database with this version's schema, and partitions for the fake clock's months."""
    url = asyncio.run(databases.create(postgres_server))
    asyncio.run(_migrated(url))
    return url


async def _migrated(url: str) -> None:
    async with opened(url, FakeClock()):
        pass


@pytest.fixture
def copied_sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A copy of the file: migrating each anew takes longer than most tests."""
    shutil.copy(sqlite_template, tmp_path / "test.db")
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
async def copied_postgres_url(postgres_server: str, postgres_template: str) -> AsyncIterator[str]:
    url = await databases.create(postgres_server, postgres_template)
    yield url
    await databases.drop(postgres_server, url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """One test, both databases, migrated."""
    return str(request.getfixturevalue(f"copied_{'sqlite' if request.param == 'sqlite' else 'postgres'}_url"))


@pytest.fixture
async def ledger(database_url: str, clock: FakeClock) -> AsyncIterator[Ledger]:
    async with opened(database_url, clock) as (database, store):
        yield Ledger(store, Reader(database), clock)
