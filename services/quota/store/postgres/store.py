"""The books in PostgreSQL: one set-based statement for each kind of row of a batch, asyncpg underneath.

Several replicas may share the database. A batch locks its accounts' rows in id order first; every other row belongs to
exactly one account, so nothing else needs a lock and no two batches can wait for each other in a circle. What is read
afterwards is read by later statements (READ COMMITTED: each sees what was committed before it began), and the time is
clock_timestamp() taken under the locks, since now() is the transaction's start and can lie before another's admission.
What this replica knows of an account that no other has changed since is not read again (memory.py).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
from sqlalchemy.engine import URL

from servicekit.clock import MICROSECONDS, Clock, SystemClock
from servicekit.database.database import CONNECT_TIMEOUT, outages_translated
from servicekit.database.outages import is_gone
from services.quota.domain.apply import apply
from services.quota.domain.clock_steps import ClockSteps
from services.quota.domain.operations import Operation
from services.quota.domain.outcomes import Outcome
from services.quota.domain.records import Books
from services.quota.store.batch import columns
from services.quota.store.batch.changes import Change, changes_of, written
from services.quota.store.batch.needs import Needs
from services.quota.store.postgres import statements
from services.quota.store.postgres.loading import Loading
from services.quota.store.postgres.partitions import Partitions
from services.quota.store.postgres.replica_memory import Memory, revise

REVISION_BITS = 63
STATEMENT_TIMEOUT = 2.0  # seconds; a batch takes milliseconds
HOUSEKEEPING_TIMEOUT = 1800.0  # seconds; a month's charges are summed up before they are dropped
# Every statement finds its rows by key. A planner that looks at a young, small or not yet analysed table would rather
# read it whole, and a prepared statement would keep that plan while the table grows.
PLANS = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}


async def _nothing() -> None:
    """Who reads elsewhere, if anybody does, is not ours to know."""


class PostgresStore:
    """Implements Store. Make with `await PostgresStore.open(url)`. A clock is given by tests only."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock | None,
        partitions: Partitions,
        moved: Callable[[], Coroutine[Any, Any, None]],
        memory: Memory | None = None,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._partitions = partitions
        self._moved = moved
        self._moving: asyncio.Task[None] | None = None
        self._memory = Memory() if memory is None else memory
        self.steps = ClockSteps()  # of the database's clock

    @classmethod
    async def open(
        cls,
        url: URL,
        *,
        connections: int = 4,
        schema: str | None = None,
        clock: Clock | None = None,
        moved: Callable[[], Coroutine[Any, Any, None]] = _nothing,
        memory: Memory | None = None,
    ) -> PostgresStore:
        """Connects to a migrated database; `connections` batches can be under way at once.

        `moved` is awaited when the database turned out to be elsewhere now; `memory` is an empty one unless given.
        Raises DatabaseUnavailable.
        """
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        place = {"search_path": schema} if schema else {}
        with outages_translated():
            pool = await asyncpg.create_pool(
                dsn,
                min_size=connections,
                max_size=connections + 2,  # heartbeats and the sweeper do not wait for batches
                timeout=CONNECT_TIMEOUT,
                command_timeout=STATEMENT_TIMEOUT,
                server_settings=PLANS | place,
                reset=_keep_session,
            )
        connect = partial(
            asyncpg.connect, dsn, timeout=CONNECT_TIMEOUT, command_timeout=HOUSEKEEPING_TIMEOUT, server_settings=place
        )
        partitions = Partitions(connect, clock)
        try:
            with outages_translated():
                await partitions.find(pool)
        except BaseException:
            pool.terminate()
            raise
        return cls(pool, clock, partitions, moved, memory)

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        async with (
            self._in_reach(write=True),
            self._pool.acquire(timeout=STATEMENT_TIMEOUT) as connection,
            connection.transaction(),
        ):
            needs = Needs.of(operations)
            loading = Loading(
                connection,
                self._memory,
                needs,
                self.steps,
                fake_now=self._fake_now(),
                monotonic=self._monotonic,
                alone=len(operations) == 1,
            )
            books = await loading.run()
            outcomes = [apply(books, operation) for operation in operations]
            revise(books, secrets.randbits(REVISION_BITS))
            await self._save(connection, books)
        self._memory.keep(books, loading.taken)
        return outcomes

    async def renew(self, session_id: bytes, edge_name: str, lease: float) -> None:
        async with self._in_reach(write=True):
            microseconds = round(lease * MICROSECONDS)
            self.steps.longest_lease = max(self.steps.longest_lease, lease)
            await self._pool.execute(statements.SAVE_SESSION, session_id, edge_name, microseconds, self._fake_now())

    async def lapsed(self, limit: int) -> list[bytes]:
        return await self._of_lapsed_sessions(statements.FIND_LAPSED, 0, limit)

    async def unconfirmed(self, grace: float, limit: int) -> list[bytes]:
        grace_us = round(grace * MICROSECONDS)
        return await self._of_lapsed_sessions(statements.FIND_UNCONFIRMED, grace_us, limit)

    async def _of_lapsed_sessions(self, statement: str, grace_us: int, limit: int) -> list[bytes]:
        async with self._in_reach(write=False):
            now_us = self._fake_now() or await self._pool.fetchval(f"SELECT {statements.NOW}")
            monotonic = self._monotonic()
            self.steps.observe(now_us, monotonic)
            if not self.steps.leases_checked:
                until_us = now_us + round(self.steps.longest_right_lease * MICROSECONDS)
                await self._pool.execute(statements.CUT_LEASES, until_us)
                self.steps.leases_checked = True
            if not self.steps.leases_hold(monotonic):
                return []
            return [row[0] for row in await self._pool.fetch(statement, now_us - grace_us, limit)]

    async def forgive_losses(self, account_id: str) -> int:
        async with self._in_reach(write=True):
            return await self._pool.fetchval(statements.FORGIVE, account_id, self._fake_now()) or 0

    async def do_housekeeping(self, months: int | None) -> float:
        async with self._in_reach(write=True):
            await self._pool.execute(statements.FORGET_SESSIONS, self._fake_now())
        return await self._partitions.do_housekeeping(months)

    async def close(self) -> None:
        if self._moving is not None:
            await self._moving
        await self._pool.close()

    @asynccontextmanager
    async def _in_reach(self, *, write: bool) -> AsyncIterator[None]:
        """Raises DatabaseUnavailable. After an error that says that the database is elsewhere, all connections go."""
        with outages_translated(write=write):
            try:
                yield
            except Exception as error:
                if is_gone(error):
                    await self._pool.expire_connections()
                    if self._moving is None or self._moving.done():
                        self._moving = asyncio.create_task(self._moved())
                raise

    def _fake_now(self) -> int | None:
        return self._clock.now_us() if self._clock else None

    def _monotonic(self) -> float:
        return (self._clock or SystemClock()).monotonic()

    async def _save(self, connection: Any, books: Books) -> None:
        changes = changes_of(books)
        if changes:
            writes = [_write(change, rows) for change, rows in changes.items()]
            parameters = [each for write, rows in writes for each in write.parameters(rows)]
            charges = self._partitions.of([each.id for each in books.holds.values() if each.dirty])
            await connection.execute(statements.together(tuple(write for write, _ in writes), charges), *parameters)


def _write(change: Change, rows: Sequence[tuple[Any, ...]]) -> tuple[statements.Write, Sequence[tuple[Any, ...]]]:
    """The statement of one kind of change, and its rows."""
    if change is Change.NEW_CHARGE:
        names, values = written(columns.CHARGE, rows)
        return statements.new_charge(names), values
    if change is Change.CHARGE:
        names, values = written(columns.CHARGE_WRITTEN, rows)
        return statements.charge(names), values
    return statements.WRITES[change], rows


async def _keep_session(connection: asyncpg.Connection) -> None:
    """Nothing here changes a connection's session, so between two batches nothing is reset: a round trip less."""
