"""The books in SQLite: one thread, one connection, the standard library's driver.

SQLite means one process (servicekit/database refuses a second), so the database lock of BEGIN IMMEDIATE is the
account lock, and records may stay in memory between batches: only this thread changes them. The clock is the process's,
or a test's.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from typing import Any

from servicekit.clock import MICROSECONDS, Clock
from servicekit.database.outages import is_gone, outages_translated
from servicekit.database.sqlite import LOG_LIMIT_BYTES
from servicekit.observability.logging import get_logger
from services.quota.domain.apply import apply
from services.quota.domain.calendar import DAY_US, day_and_month
from services.quota.domain.clock_steps import ClockSteps, correct
from services.quota.domain.cutoff import Cutoff
from services.quota.domain.operations import Operation
from services.quota.domain.outcomes import Outcome
from services.quota.domain.rate_window import WINDOW_US
from services.quota.domain.records import (
    Account,
    Admissions,
    Books,
    EntryKind,
    Key,
    KeyMonth,
    LedgerEntry,
)
from services.quota.store.batch import columns
from services.quota.store.batch.changes import Change, changes_of, written
from services.quota.store.batch.needs import Needs, complete_months
from services.quota.store.sqlite import statements
from services.quota.store.sqlite.cache import Cache
from services.quota.store.sqlite.checkpoints import CHECKPOINT, CHECKPOINT_INTERVAL, Checkpoints

log = get_logger(__name__)


DROPPED_AT_ONCE = 500  # about as long as a batch of requests takes
NEXT_DROP, DROPPED_ALL = 0.05, 3600.0  # seconds until there is something to drop again


class SqliteStore:
    """Implements Store. Make with `await SqliteStore.open(path, clock)`."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], thread: ThreadPoolExecutor, clock: Clock) -> None:
        """`connect` and all work run in `thread`."""
        self._connect = connect
        self._connection = connect()
        self._gone = False  # the connection is of no use any more: the next work opens another
        self._thread = thread
        self._clock = clock
        self._cache = Cache()
        self.steps = ClockSteps()
        self._checkpoints: Checkpoints | None = None

    @classmethod
    async def open(
        cls,
        path: str,
        clock: Clock,
        *,
        synchronous: str = "NORMAL",
        checkpoint_interval: float = CHECKPOINT_INTERVAL,
        connect_to: Callable[..., sqlite3.Connection] = sqlite3.connect,
    ) -> SqliteStore:
        """Opens a migrated database. NORMAL survives any crash of the process, FULL a power cut too.

        `checkpoint_interval` is in seconds; `connect_to` makes the connections. Raises DatabaseUnavailable.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

        def connect() -> sqlite3.Connection:
            connection = connect_to(path, isolation_level=None, check_same_thread=False, cached_statements=64)
            pragmas = ("journal_mode=WAL", f"synchronous={synchronous}", "busy_timeout=2000", "cache_size=-65536")
            # Debian's build overwrites whatever is deleted with zeros; nothing in the books is a secret.
            more = ("wal_autocheckpoint=0", f"journal_size_limit={LOG_LIMIT_BYTES}", "secure_delete=OFF")
            for pragma in (*pragmas, *more):
                connection.execute(f"PRAGMA {pragma}")
            return connection

        with outages_translated():
            store = await asyncio.get_running_loop().run_in_executor(thread, cls, connect, thread, clock)
        store._checkpoints = Checkpoints(path, finish=store._finish_checkpoint, interval=checkpoint_interval)  # noqa: SLF001  its own
        return store

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        return await self._run(self._apply, operations)

    async def renew(self, session_id: bytes, edge_name: str, lease: float) -> None:
        self.steps.longest_lease = max(self.steps.longest_lease, lease)
        until = self._clock.now_us() + round(lease * MICROSECONDS)
        await self._run(self._execute, statements.SAVE_SESSION, (session_id, edge_name, until))

    async def lapsed(self, limit: int) -> list[bytes]:
        return await self._run(self._of_lapsed_sessions, statements.FIND_LAPSED, 0, limit, write=False)

    async def unconfirmed(self, grace: float, limit: int) -> list[bytes]:
        return await self._run(
            self._of_lapsed_sessions, statements.FIND_UNCONFIRMED, round(grace * MICROSECONDS), limit, write=False
        )

    def _of_lapsed_sessions(self, statement: str, grace_us: int, limit: int) -> list[bytes]:
        now_us, monotonic = self._clock.now_us(), self._clock.monotonic()
        self.steps.observe(now_us, monotonic)
        if not self.steps.leases_checked:
            until_us = now_us + round(self.steps.longest_right_lease * MICROSECONDS)
            self._connection.execute(statements.CUT_LEASES, (until_us, until_us))
            self.steps.leases_checked = True
        if not self.steps.leases_hold(monotonic):
            return []
        return [row[0] for row in self._connection.execute(statement, (now_us - grace_us, limit))]

    async def forgive_losses(self, account_id: str) -> int:
        def forgive() -> int:
            day = day_and_month(self._clock.now_us())[0]
            rows = self._connection.execute(statements.FORGIVE, (account_id, day)).fetchall()
            return int(rows[0][0]) if rows else 0

        return await self._run(forgive)

    async def do_housekeeping(self, months: int | None) -> float:
        await self._run(self._execute, statements.FORGET_SESSIONS, (self._clock.now_us() - DAY_US,))
        if months is None:
            return DROPPED_ALL
        dropped = await self._run(self._drop, Cutoff.at(self._clock.now_us(), months))
        return NEXT_DROP if dropped == DROPPED_AT_ONCE else DROPPED_ALL

    async def close(self) -> None:
        if self._checkpoints is not None:
            await self._checkpoints.close()
        await self._run(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        self._connection.close()

    async def _finish_checkpoint(self) -> None:
        """The rest of a copy, between two commits: what came to the log while the rest was copied."""
        await self._run(lambda: self._connection.execute(CHECKPOINT).fetchone(), write=False)

    async def _run(self, work: Any, *arguments: Any, write: bool = True) -> Any:
        """In the ledger's thread. Not cancelled with its caller: what was begun is committed or rolled back."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._with_connection, work, *arguments)
        with outages_translated(write=write):
            return await asyncio.shield(future)

    def _with_connection(self, work: Any, *arguments: Any) -> Any:
        """Opens the file again after an error that means it was replaced or out of reach."""
        if self._gone:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._cache.drop()
            self._connection = self._connect()
            self._gone = False
        try:
            return work(*arguments)
        except Exception as error:
            self._gone = is_gone(error)
            raise

    def _execute(self, statement: str, parameters: tuple[Any, ...]) -> None:
        self._connection.execute(statement, parameters)

    def _apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            books = self._load(Needs.of(operations), alone=len(operations) == 1)
            outcomes = [apply(books, operation) for operation in operations]
            self._save(books)
            execute("COMMIT")
        except BaseException:
            self._cache.drop()
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        self._cache.keep(books)
        return outcomes

    def _drop(self, cutoff: Cutoff) -> int:
        """Of charges that nothing asks for any more, so that what is kept in memory holds."""
        execute, old = self._connection.execute, (cutoff.hold_id, cutoff.instant_us, DROPPED_AT_ONCE)
        execute("BEGIN IMMEDIATE")
        try:
            execute(statements.CARRY, old)
            count = execute(statements.DROP, old).rowcount
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        if count:
            log.info("charges_dropped", charges=count)
        return count

    def _load(self, needs: Needs, *, alone: bool) -> Books:
        books = Books(self._clock.now_us())
        self.steps.observe(books.now_us, self._clock.monotonic())
        books.set_back_us = self.steps.set_back_us
        self._load_holds(needs, books, alone=alone)
        cache = self._cache
        for account_id in needs.account_ids | {hold.account_id for hold in books.holds.values()}:
            account = cache.accounts.get(account_id) or self._account(account_id)
            if account is not None:
                books.accounts[account_id] = account
        for key_id in needs.keys:
            key = cache.keys.get(key_id) or self._key(key_id)
            if key is not None:
                books.keys[key_id] = key
        for kind, reference in needs.references:
            if (row := self._connection.execute(statements.LOAD_ENTRY, (kind, reference)).fetchone()) is not None:
                books.entries[(kind, reference)] = LedgerEntry(row[0], EntryKind(row[1]), *row[2:])
        needs.complete(books)
        correct(books, needs.reserves, needs.keys, [cache.account_admissions, cache.key_admissions])
        pairs = needs.months(books)
        for pair in pairs:
            month = cache.months.get(pair) or self._month(pair)
            if month is not None:
                books.months[pair] = month
        complete_months(books, pairs)
        self._load_admissions(needs, books)
        return books

    def _load_holds(self, needs: Needs, books: Books, *, alone: bool) -> None:
        """A reservation's id is new but for replays. In a batch that is taken for granted: when it is not so, the
        primary key refuses the batch, and its operations come again one by one, each looked up."""
        for hold_id in needs.hold_ids:
            hold = self._cache.holds.get(hold_id)
            if hold is None and (alone or hold_id not in needs.reserved_ids):
                row = self._connection.execute(statements.LOAD_HOLD, (hold_id,)).fetchone()
                hold = None if row is None else columns.hold_of(row)
            if hold is not None:
                books.holds[hold_id] = hold

    def _account(self, account_id: str) -> Account | None:
        row = self._connection.execute(statements.LOAD_ACCOUNT, (account_id,)).fetchone()
        return None if row is None else Account(*row)

    def _key(self, key_id: str) -> Key | None:
        row = self._connection.execute(statements.LOAD_KEY, (key_id,)).fetchone()
        return None if row is None else Key(*row)

    def _month(self, pair: tuple[str, int]) -> KeyMonth | None:
        row = self._connection.execute(statements.LOAD_MONTH, pair).fetchone()
        return None if row is None else KeyMonth(*row)

    def _load_admissions(self, needs: Needs, books: Books) -> None:
        """Every admission of the last 60 s, read once and then kept."""
        since, cache = books.now_us - WINDOW_US, self._cache
        for account_id in needs.reserves:
            account = books.accounts[account_id]
            of_account = cache.account_admissions.get(account_id) or self._admissions(
                statements.LOAD_RECENT, account, since
            )
            of_account.forget_before(since, account.last_seq)
            books.account_admissions[account_id] = of_account
        for key_id in needs.keys:
            key = books.keys[key_id]
            if key.requests_per_minute is None and key_id not in needs.key_limits:
                continue
            of_key = cache.key_admissions.get(key_id) or self._admissions(statements.LOAD_KEY_RECENT, key, since)
            of_key.forget_before(since, key.last_seq)
            books.key_admissions[key_id] = of_key

    def _admissions(self, statement: str, owner: Account | Key, since: int) -> Admissions:
        """From the newest back to the first that has left the window: the older ones are not read."""
        rows = self._connection.execute(statement, (owner.id, owner.last_seq))
        corrected = ((seq, min(at, owner.clock_us) if seq <= owner.clock_seq else at) for seq, at in rows)
        times = dict(takewhile(lambda row: row[1] > since, corrected))
        return Admissions(times, first_in_window=min(times, default=None))

    def _save(self, books: Books) -> None:
        for change, rows in changes_of(books).items():
            if change is Change.NEW_CHARGE:
                names, values = written(columns.CHARGE, rows)
                self._connection.executemany(statements.new_charge(names), values)
            elif change is Change.CHARGE:
                names, values = written(columns.CHARGE_WRITTEN, rows)
                self._connection.executemany(statements.charge(names), values)
            else:
                self._connection.executemany(statements.WRITES[change], rows)
