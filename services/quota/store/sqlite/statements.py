"""The SQLite statements of the books, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from services.quota.store.batch import columns, sql
from services.quota.store.batch.changes import Change
from services.quota.store.batch.columns import COUNTED_LOSSES


def _values(names: Sequence[str]) -> str:
    return f"VALUES ({', '.join('?' * len(names))})"


def _insert(table: str, names: Sequence[str]) -> str:
    return sql.insert(table, names, _values(names))


def _upsert(table: str, names: Sequence[str], key: Sequence[str], *, add: bool = False, newest: str = "") -> str:
    return sql.upsert(table, names, _values(names), key=key, add=add, newest=newest)


LOAD_HOLD = f"SELECT {', '.join(columns.CHARGE)} FROM charges WHERE hold_id = ?"
LOAD_ACCOUNT = f"SELECT {', '.join(columns.ACCOUNT)} FROM accounts WHERE id = ?"
LOAD_KEY = f"SELECT {', '.join(columns.KEY)} FROM keys WHERE id = ?"
LOAD_MONTH = f"SELECT {', '.join(columns.MONTH)} FROM key_months WHERE key_id = ? AND month = ?"
LOAD_ENTRY = f"SELECT {', '.join(columns.LEDGER)} FROM ledger WHERE {sql.NOT_A_CHARGE} AND kind = ? AND reference = ?"
LOAD_RECENT = "SELECT seq, reserved_us FROM charges WHERE account_id = ? AND seq <= ? ORDER BY seq DESC"
LOAD_KEY_RECENT = "SELECT key_seq, reserved_us FROM charges WHERE key_id = ? AND key_seq <= ? ORDER BY key_seq DESC"


@lru_cache(maxsize=256)
def new_charge(names: tuple[str, ...]) -> str:
    """Inserts charges with these columns."""
    return _insert("charges", names)


@lru_cache(maxsize=256)
def charge(names: tuple[str, ...]) -> str:
    """Changes these columns of charges; the last is the id."""
    return f"UPDATE charges SET {', '.join(f'{name} = ?' for name in names[:-1])} WHERE {names[-1]} = ?"


# Charges are written by new_charge() and charge().
WRITES = {
    Change.NEW_ACCOUNT: _insert("accounts", columns.ACCOUNT),
    Change.ACCOUNT: f"UPDATE accounts SET {', '.join(f'{name} = ?' for name in columns.ACCOUNT[1:])} WHERE id = ?",
    Change.KEY: _upsert("keys", columns.KEY, ("id",)),
    Change.NEW_MONTH: _insert("key_months", columns.MONTH),
    Change.MONTH: "UPDATE key_months SET spent = ?, held = ?, ceiling = ? WHERE key_id = ? AND month = ?",
    Change.ENTRY: _insert("ledger", columns.LEDGER),
    Change.USAGE: _upsert("usage_daily", columns.USAGE, ("account_id", "day", "model"), add=True),
    Change.USAGE_BY: _upsert("usage_by", columns.USAGE_BY, columns.USAGE_BY_KEY, add=True, newest="last_used_us"),
    Change.LOSS: _upsert("losses", columns.LOSSES, ("account_id", "day"), add=True),
}
SAVE_SESSION = _upsert("sessions", ("id", "edge_name", "lease_until_us"), ("id",))


def _find_lapsed(which: str) -> str:
    charges = f"charges c WHERE c.session_id = l.id AND {which}"
    return sql.FIND_LAPSED.format(which=which, now="?", limit="?", charges=charges)


FIND_LAPSED, FIND_UNCONFIRMED = _find_lapsed(sql.OPEN), _find_lapsed("unconfirmed")
CUT_LEASES = "UPDATE sessions SET lease_until_us = ? WHERE lease_until_us > ?"
FORGIVE = f"UPDATE losses SET forgiven = {COUNTED_LOSSES} WHERE account_id = ? AND day = ? RETURNING forgiven"
FORGET_SESSIONS = "DELETE FROM sessions WHERE lease_until_us < ?"  # postgres/statements.py says why that is harmless

_OLD = f"FROM charges WHERE hold_id < ? AND reserved_us < ? AND {sql.FINAL} ORDER BY hold_id LIMIT ?"
CARRY = sql.CARRY.format(source=f"(SELECT * {_OLD})")
DROP = f"DELETE FROM charges WHERE hold_id IN (SELECT hold_id {_OLD})"
