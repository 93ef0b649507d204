"""The PostgreSQL statements of the books: set-based, over arrays, one column each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from services.quota.domain.calendar import DAY_US
from services.quota.store.batch import columns, sql
from services.quota.store.batch.changes import Change

TYPES = {
    **dict.fromkeys(("id", "account_id", "key_id", "model", "day", "reference", "reason"), "text"),
    **dict.fromkeys(("endpoint", "member_id", "units", "end_reason", "request_id", "idempotency"), "text"),
    **dict.fromkeys(("hold_id", "session_id"), "bytea"),
    **dict.fromkeys(("state", "choices", "month", "kind"), "int"),
    **dict.fromkeys(("unconfirmed", "estimated", "produced"), "boolean"),
}
BIGINT = "bigint"
PLAIN = (BIGINT, "int", "boolean")  # what str() writes as PostgreSQL reads it
NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def _parameters(names: Sequence[str], first: int) -> str:
    return ", ".join(_parameter(name, number) for number, name in enumerate(names, first))


def _parameter(name: str, number: int) -> str:
    kind = TYPES.get(name, BIGINT)
    return f"${number}::text::{kind}[]" if kind in PLAIN else f"${number}::{kind}[]"


def array(name: str, values: Iterable[Any]) -> Any:
    """One column of a batch as its parameter. asyncpg asks two abstract classes of every element of an array whether it
    is one, 0.3 µs each: as long as all else. So numbers go as one text."""
    if TYPES.get(name, BIGINT) not in PLAIN:
        return values
    return f"{{{','.join(['NULL' if value is None else str(value) for value in values])}}}"


@dataclass(frozen=True)
class Write:
    """One kind of change of a batch, as a statement over arrays: a column each, all of one length."""

    names: tuple[str, ...]
    statement: str  # with {rows} where the arrays go, and perhaps {charges} for the table

    def text(self, first: int, charges: str) -> str:
        """The statement with its parameters numbered from `first`."""
        rows = f"SELECT * FROM unnest({_parameters(self.names, first)})"
        return self.statement.format(rows=rows, charges=charges)

    def parameters(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Rows with a value for each name, as the statement's parameters."""
        return [array(name, column) for name, column in zip(self.names, zip(*rows, strict=True), strict=True)]


def _insert(table: str, names: tuple[str, ...]) -> Write:
    return Write(names, f"{sql.insert(table, names, '{rows}')} RETURNING 1")


def _update(table: str, changes: tuple[str, ...], key: tuple[str, ...]) -> Write:
    names = (*changes, *key)
    setting = ", ".join(f"{name} = u.{name}" for name in changes)
    where = " AND ".join(f"t.{name} = u.{name}" for name in key)
    source = f"({{rows}} AS r({', '.join(names)})) u"
    return Write(names, f"UPDATE {table} t SET {setting} FROM {source} WHERE {where} RETURNING 1")


def _upsert(table: str, names: tuple[str, ...], key: tuple[str, ...], *, add: bool = False, newest: str = "") -> Write:
    return Write(names, f"{sql.upsert(table, names, '{rows}', key=key, add=add, newest=newest)} RETURNING 1")


def _columns(names: Sequence[str], table: str) -> str:
    return ", ".join(f"{table}.{name}" for name in names)


def _charges_by_id(names: str, first: int) -> str:
    """Joins the charge of each r.id, as c. LIMIT makes it one look-up each whatever the planner thinks of the bounds.

    The bounds, parameters `first` and the next, are there for partitions that lie outside to be left out before the
    statement begins; from the elements of an array PostgreSQL draws no such conclusion.
    """
    return (
        f"CROSS JOIN LATERAL (SELECT {names} FROM charges WHERE hold_id = r.id"
        f" AND hold_id BETWEEN ${first}::bytea AND ${first + 1}::bytea LIMIT 1) c"
    )


def bounds(hold_ids: Collection[bytes]) -> tuple[bytes, bytes]:
    """The parameters that bound ids which are known."""
    return min(hold_ids), max(hold_ids)


# Each row comes with an instant taken once it is locked; the latest of them was taken under all locks.
_LOCK = (
    f"WITH locked AS MATERIALIZED (SELECT {', '.join(columns.ACCOUNT)} FROM accounts WHERE id IN ({{ids}})"
    f" ORDER BY id FOR UPDATE) SELECT *, {NOW} FROM locked"
)
LOCK_ACCOUNTS = _LOCK.format(ids="SELECT unnest($1::text[])")
# The same, and the owners of holds of which only the id is known.
LOCK_OWNERS = _LOCK.format(
    ids="SELECT unnest($1::text[]) UNION"
    f" SELECT c.account_id FROM unnest($2::bytea[]) AS r(id) {_charges_by_id('account_id', 3)}"
)
# The rows of keys, with their months from the earliest likely one on; and the time, for a batch that locked nothing.
LOAD_KEYS = (
    f"SELECT n.now, {_columns(columns.KEY, 'k')}, {_columns(columns.MONTH, 'm')} FROM (SELECT {NOW} AS now) n"
    " LEFT JOIN (unnest($1::text[]) AS r(id) JOIN keys k ON k.id = r.id"
    " LEFT JOIN key_months m ON m.key_id = k.id AND m.month >= $2) ON true"
)
LOAD_HOLDS = (
    f"SELECT {_columns(columns.CHARGE, 'c')}, {_columns(columns.MONTH, 'm')} FROM unnest($1::bytea[]) AS r(id)"
    f" {_charges_by_id(', '.join(columns.CHARGE), 2)}"
    " LEFT JOIN key_months m ON m.key_id = c.key_id AND m.month = c.month"
)
LOAD_MONTHS = (
    f"SELECT {', '.join(columns.MONTH)} FROM key_months"
    " WHERE (key_id, month) IN (SELECT * FROM unnest($1::text[], $2::int[]))"
)
LOAD_ENTRIES = (
    f"SELECT {', '.join(columns.LEDGER)} FROM ledger"
    f" WHERE {sql.NOT_A_CHARGE} AND (kind, reference) IN (SELECT * FROM unnest($1::int[], $2::text[]))"
)
_AROUND = "c.hold_id BETWEEN $4::bytea AND $5::bytea"  # for the partitions; the index is found by owner and number
LOAD_TIMES = (
    "SELECT r.id, c.seq, c.reserved_us FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS r(id, low, high)"
    f" JOIN charges c ON c.account_id = r.id AND c.seq BETWEEN r.low AND r.high AND {_AROUND}"
)
LOAD_KEY_TIMES = (
    "SELECT r.id, c.key_seq, c.reserved_us FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS r(id, low, high)"
    f" JOIN charges c ON c.key_id = r.id AND c.key_seq BETWEEN r.low AND r.high AND {_AROUND}"
)
# Binary searches (migrations 0001 and 0005): a handful of index look-ups at any limit.
LOAD_FIRST = (
    "SELECT r.id, first_admission(r.id, r.low, r.high, $4) FROM unnest($1::text[], $2::bigint[], $3::bigint[])"
    " AS r(id, low, high)"
)
LOAD_KEY_FIRST = LOAD_FIRST.replace("first_admission", "first_key_admission")


@lru_cache(maxsize=256)
def new_charge(names: tuple[str, ...]) -> Write:
    """Inserts charges with these columns."""
    return _insert("{charges}", names)


@lru_cache(maxsize=256)
def charge(names: tuple[str, ...]) -> Write:
    """Changes these columns of charges; the last is the id."""
    return _update("{charges}", names[:-1], names[-1:])


# Charges are written by new_charge() and charge().
WRITES = {
    Change.NEW_ACCOUNT: _insert("accounts", columns.ACCOUNT),
    Change.ACCOUNT: _update("accounts", columns.ACCOUNT[1:], ("id",)),
    Change.KEY: _upsert("keys", columns.KEY, ("id",)),
    Change.NEW_MONTH: _insert("key_months", columns.MONTH),
    Change.MONTH: _update("key_months", ("spent", "held", "ceiling"), ("key_id", "month")),
    Change.ENTRY: _insert("ledger", columns.LEDGER),
    Change.USAGE: _upsert("usage_daily", columns.USAGE, ("account_id", "day", "model"), add=True),
    Change.USAGE_BY: _upsert("usage_by", columns.USAGE_BY, columns.USAGE_BY_KEY, add=True, newest="last_used_us"),
    Change.LOSS: _upsert("losses", columns.LOSSES, ("account_id", "day"), add=True),
}
SAVE_SESSION = (
    f"INSERT INTO sessions (id, edge_name, lease_until_us) VALUES ($1, $2, coalesce($4, {NOW}) + $3)"
    " ON CONFLICT (id) DO UPDATE SET edge_name = excluded.edge_name, lease_until_us = excluded.lease_until_us"
)


def _find_lapsed(which: str) -> str:
    """LIMIT keeps the planner, which expects one open hold, from reading all of them and comparing their sessions."""
    of_session = f"SELECT hold_id, reserved_us FROM charges WHERE session_id = l.id AND {which}"
    charges = f"LATERAL ({of_session} ORDER BY reserved_us LIMIT $2) c"
    return sql.FIND_LAPSED.format(which=which, now="$1", limit="$2", charges=charges)


FIND_LAPSED, FIND_UNCONFIRMED = _find_lapsed(sql.OPEN), _find_lapsed("unconfirmed")
CUT_LEASES = "UPDATE sessions SET lease_until_us = $1 WHERE lease_until_us > $1"
FORGIVE = (
    f"UPDATE losses SET forgiven = {columns.COUNTED_LOSSES} WHERE account_id = $1"
    f" AND day = to_char(to_timestamp(coalesce($2, {NOW}) / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    " RETURNING forgiven"
)
# A session that lapsed long ago has no holds any more, and one that is not known counts as lapsed.
FORGET_SESSIONS = f"DELETE FROM sessions WHERE lease_until_us < coalesce($1, {NOW}) - {DAY_US}"


@lru_cache(maxsize=512)
def together(writes: tuple[Write, ...], charges: str) -> str:
    """All changes of a batch as one statement: each in a WITH clause, so that one round trip carries them.

    `charges` is the table of charges, or the partition of it that holds all that the batch writes.
    """
    clauses, first = [], 1
    for number, write in enumerate(writes):
        clauses.append(f"w{number} AS ({write.text(first, charges)})")
        first += len(write.names)
    return f"WITH {', '.join(clauses)} SELECT 1"
