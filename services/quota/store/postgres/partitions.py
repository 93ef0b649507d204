"""Charges in PostgreSQL lie in a partition for each month of their ids (migration 0005): made ahead, dropped when old.

The hot path never waits for any of this but for moments: what needs a lock on the whole table gives up after
LOCK_TIMEOUT and is tried again later. One replica does housekeeping at a time, under an advisory lock.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from common.hold_id import instant_us, lowest_at
from servicekit.clock import Clock
from servicekit.database.database import outages_translated
from servicekit.observability.logging import get_logger
from services.quota.domain.calendar import day_and_month, month_after, start_of_month_us
from services.quota.domain.cutoff import Cutoff
from services.quota.store.batch import sql
from services.quota.store.postgres.statements import NOW

log = get_logger(__name__)

MONTHS_AHEAD = 3
LOCK_TIMEOUT = "200ms"  # requests wait behind it meanwhile
BATCH = 2_000  # charges deleted at once, where a partition holds others that are kept
NEXT, BUSY, DONE = 0.05, 30.0, 3600.0  # seconds until there is something to do again

FAR_FUTURE_US = start_of_month_us(999901)

# The lock's name is that of the version before: replicas of both must not do housekeeping at once.
ONE_AT_A_TIME = "SELECT pg_try_advisory_lock(hashtext('tidy:' || current_schema()))"
PARTITIONS = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'charges'::regclass ORDER BY 1"
)
TABLE, DEFAULT = "charges", "charges_default"
DELETE = (
    "WITH gone AS (DELETE FROM {name} WHERE hold_id IN (SELECT hold_id FROM {name}"
    f" WHERE hold_id < $1 AND reserved_us < $2 AND {sql.FINAL} ORDER BY hold_id LIMIT $3)"
    " RETURNING account_id, key_id, month, credits, refunded),"
    f" carried AS ({sql.CARRY.format(source='gone')} RETURNING 1)"
    " SELECT count(*) FROM gone"
)
CAN_CHANGE = f"SELECT count(*) FROM {{name}} WHERE {sql.CAN_CHANGE}"
LEAF = f"""
CREATE TABLE {{name}} (LIKE charges INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
ALTER TABLE {{name}} ADD PRIMARY KEY (hold_id);
CREATE UNIQUE INDEX {{name}}_by_seq ON {{name}} (account_id, seq);
CREATE UNIQUE INDEX {{name}}_by_key_seq ON {{name}} (key_id, key_seq) WHERE key_seq IS NOT NULL;
CREATE INDEX {{name}}_open ON {{name}} (session_id) WHERE {sql.OPEN};
CREATE INDEX {{name}}_unconfirmed ON {{name}} (session_id) WHERE unconfirmed;
ALTER TABLE charges ATTACH PARTITION {{name}} FOR VALUES FROM ('\\x{{first}}') TO ('\\x{{end}}');
"""


class Partitions:
    """`connect` opens a connection for each pass. Only tests give a clock."""

    def __init__(self, connect: Callable[[], Awaitable[Any]], clock: Clock | None) -> None:
        self._connect = connect
        self._clock = clock
        self._months: frozenset[int] = frozenset()

    async def find(self, connection: Any) -> list[str]:
        """Looks which partitions there are, and gives their names."""
        names = [row[0] for row in await connection.fetch(PARTITIONS)]
        self._months = frozenset(month for name in names if (month := _month(name)) is not None)
        return names

    def of(self, hold_ids: list[bytes]) -> str:
        """The partition that holds all of these, or the table when they are in several or it is not known.

        A statement that names its partition opens no other, so that it costs the same however many there are. What is
        known here may be older than what another replica has made meanwhile; a partition that is there keeps its place.
        """
        if not hold_ids:
            return TABLE
        month = _month_of(min(hold_ids))
        return f"charges_{month}" if month in self._months and month == _month_of(max(hold_ids)) else TABLE

    async def do_housekeeping(self, months: int | None) -> float:
        """One bounded step; gives the seconds until the next is due. Raises DatabaseUnavailable."""
        with outages_translated():
            connection = await self._connect()
            try:
                if not await connection.fetchval(ONE_AT_A_TIME):
                    return DONE
                return await self._do_housekeeping(connection, months)
            except asyncpg.LockNotAvailableError:
                log.info("charges_busy", lock_timeout=LOCK_TIMEOUT)
                return BUSY
            finally:
                await connection.close()

    async def _do_housekeeping(self, connection: Any, months: int | None) -> float:
        names = await self.find(connection)
        now_us = self._clock.now_us() if self._clock else await connection.fetchval(f"SELECT {NOW}")
        month = day_and_month(now_us)[1]
        for count in range(MONTHS_AHEAD):
            await _make(connection, names, month_after(month, count))
        await self.find(connection)
        return DONE if months is None else await _drop_old(connection, names, Cutoff.at(now_us, months))


async def _make(connection: Any, names: list[str], month: int) -> None:
    """Makes the month's partition, unless it is there or its first charges are in the default one: they stay there."""
    if any(_month(name) == month or _end(name) > month for name in names):
        return
    bounds = [lowest_at(start_of_month_us(each)) for each in (month, month_after(month, 1))]
    elsewhere = f"SELECT EXISTS (SELECT FROM {DEFAULT} WHERE hold_id >= $1 AND hold_id < $2)"
    if await connection.fetchval(elsewhere, *bounds):
        log.warning("month_is_in_default_partition", month=month)
        return
    async with connection.transaction():
        await _no_long_locks(connection)
        await connection.execute(LEAF.format(name=f"charges_{month}", first=bounds[0].hex(), end=bounds[1].hex()))
    log.info("partition_made", month=month)


async def _drop_old(connection: Any, names: list[str], cutoff: Cutoff) -> float:
    """Drops one partition that is old as a whole, or deletes some of the charges that lie beside others."""
    for name in names:
        if _is_old(name, cutoff) and await _drop(connection, name):
            return NEXT
    for name in names:
        if _month(name) is None and not _is_old(name, cutoff):
            count = await connection.fetchval(DELETE.format(name=name), cutoff.hold_id, cutoff.instant_us, BATCH)
            if count:
                log.info("charges_dropped", partition=name, charges=count)
                return NEXT
    return DONE


def _is_old(name: str, cutoff: Cutoff) -> bool:
    if (month := _month(name)) is not None:
        return month < cutoff.month
    return 0 < _end(name) <= cutoff.month


async def _drop(connection: Any, name: str) -> bool:
    """Carries forward what a partition's charges had cost, and drops it, in one transaction; False: holds are open.

    First it is sealed: a constraint that nothing fulfils lets no row in or change any more, so that it can be summed
    up without a lock. No request has ids that old; one that had them would be refused anyway (domain/hold_ids.py).
    """
    sealed = f"{name}_sealed"
    if not await connection.fetchval("SELECT count(*) FROM pg_constraint WHERE conname = $1", sealed):
        async with connection.transaction():
            await _no_long_locks(connection)
            await connection.execute(f"ALTER TABLE {name} ADD CONSTRAINT {sealed} CHECK (false) NOT VALID")
    if holds := await connection.fetchval(CAN_CHANGE.format(name=name)):
        log.warning("partition_has_open_holds", partition=name, holds=holds)
        async with connection.transaction():
            await _no_long_locks(connection)
            await connection.execute(f"ALTER TABLE {name} DROP CONSTRAINT {sealed}")
        return False
    await connection.execute(
        "CREATE TEMPORARY TABLE sums AS"
        " SELECT account_id, key_id, month,"
        f" sum(credits) AS credits, sum(refunded) AS refunded, count(*) AS charges FROM {name} GROUP BY 1, 2, 3"
    )
    async with connection.transaction():
        await _no_long_locks(connection)
        await connection.execute(sql.CARRY.format(source="sums"))
        await connection.execute(f"DROP TABLE {name}")
    charges = await connection.fetchval("SELECT coalesce(sum(charges), 0)::bigint FROM sums")
    log.info("partition_dropped", partition=name, charges=charges)
    return True


async def _no_long_locks(connection: Any) -> None:
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")


def _month_of(hold_id: bytes) -> int | None:
    """The month that an id was made in; None: later than any partition is made for."""
    instant = instant_us(hold_id)
    return day_and_month(instant)[1] if instant < FAR_FUTURE_US else None


def _month(name: str) -> int | None:
    """The month of a partition that holds one."""
    match = re.fullmatch(r"charges_(\d{6})", name)
    return int(match[1]) if match else None


def _end(name: str) -> int:
    """The first month that the oldest partition, the table of before there were any, does not hold; else 0."""
    match = re.fullmatch(r"charges_before_(\d{6})", name)
    return int(match[1]) if match else 0
