"""The books counted again from their rows (G12): what must be equal, and every account where it is not.

Accounts are counted range by range (counting.py). Within a range everything is read in one snapshot, so that requests
which go on meanwhile make no difference. Of an account with many lines the sums up to some number are carried from
count to count (`counted` and its like, migration 0009): a charge that has ended and a line of the ledger change no
more, so only what came later is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from servicekit.database.database import Dialect
from services.quota.domain.records import EntryKind
from services.quota.domain.reports import Difference
from services.quota.store.batch import sql

MAX_DIFFERENCES = 100
# Accounts in one transaction that adds to what is carried. In SQLite others cannot write meanwhile.
MAX_CARRIED = {"sqlite": 50, "postgresql": 500}
SLICE = 5_000  # lines of one account that one transaction adds to what is carried

OPEN = (  # grouped by what no index is ordered by, so that SQLite takes the index of the open ones and not that
    "SELECT coalesce(sum(n), 0), min(oldest) FROM (SELECT count(*) AS n, min(reserved_us) AS oldest FROM charges"
    f" WHERE {sql.OPEN} GROUP BY session_id) sessions"
)


@dataclass(frozen=True)
class Range:
    """Accounts by their ids, above `low` up to and including `high`; None: without that bound."""

    low: str | None
    high: str | None

    def covers(self, column: str) -> str:
        """As a condition on a column."""
        bounds = []
        if self.low is not None:
            bounds.append(f"{column} > :low")
        if self.high is not None:
            bounds.append(f"{column} <= :high")
        return " AND ".join(bounds) or "true"

    @property
    def parameters(self) -> dict[str, Any]:
        """For the condition."""
        return {name: value for name, value in (("low", self.low), ("high", self.high)) if value is not None}


# Each compares two of the sums of an account (SUMS, DERIVED).
CHECKS = {
    "balance = sum of ledger": ("lines", "balance"),
    "held = sum of open holds": ("open_held", "held"),
    "charged in ledger = sum of charges": ("gross", "booked"),
    "answers refunded in ledger = sum of charges": ("refunded", "given_back"),
    "usage = sum of charges": ("charged", "used"),
}
KEY_MONTHS = "key months = sum of charges"
KINDS = {f"kind_{kind:d}": kind for kind in EntryKind}
SUMS = ("accounts", "balance", "held", "lines", "charged", "refunded", "open_held", "used", *KINDS)
# Other things to compare, from these.
DERIVED = {
    "gross": "charged + refunded",
    "booked": f"-kind_{EntryKind.CHARGE:d}",  # the ledger has charges with a minus
    "given_back": f"kind_{EntryKind.ANSWER_REFUND:d}",
}


def names(within: Range, *, full: bool) -> str:
    """The accounts of a range, and up to where they are carried by a count not older than :number.

    Grouped rather than joined: while PostgreSQL has no statistics of `counted`, it joins row by row without an index.
    """
    tables = [("accounts", "id")]
    if full:  # lines of accounts that have no row themselves
        tables += [(table, "account_id") for table in ("ledger", "charges", "carried_forward")]
    ids = " UNION ALL ".join(
        f"SELECT DISTINCT {column} AS id, 0 AS seq, 0 AS ledger_id, 0 AS carried"
        f" FROM {table} WHERE {within.covers(column)}"
        for table, column in tables
    )
    return (
        "names AS MATERIALIZED (SELECT id, max(seq) AS seq, max(ledger_id) AS ledger_id, max(carried) AS carried"
        f" FROM ({ids} UNION ALL {_counted(within)}) i GROUP BY id)"
    )


def _of_each(source: str, table: str, columns: str, condition: str, dialect: Dialect) -> str:
    """The rows `t` of a table that belong to the rows `n` of `source`, found by index for each, whatever is planned.

    SQLite keeps the order of a CROSS JOIN. PostgreSQL does not, but plans a subquery with OFFSET by itself.
    """
    if dialect == "sqlite":
        return f"SELECT {columns} FROM {source} n CROSS JOIN {table} t WHERE {condition}"
    return (
        f"SELECT {columns} FROM {source} n CROSS JOIN LATERAL (SELECT t.* FROM {table} t WHERE {condition} OFFSET 0) t"
    )


def lines(dialect: Dialect) -> str:
    """The ledger's lines of `names`, those that are carried as their sums."""
    columns = "t.account_id, t.kind, t.credits"
    carried = _of_each("names", "counted_entries", columns, "t.account_id = n.id AND n.carried = 1", dialect)
    later = _of_each("names", "ledger", columns, "t.account_id = n.id AND t.id > n.ledger_id", dialect)
    return f"({carried} UNION ALL {later}) l"


def charged(dialect: Dialect) -> str:
    """The charges of `names`, those that are carried or no longer kept as their sums."""
    columns = "t.account_id, t.key_id, t.month, t.credits, t.refunded"
    parts = (
        ("counted_keys", "0 AS held", "n.carried = 1"),
        ("charges", "t.held", "t.seq > n.seq"),
        ("carried_forward", "0", "n.carried = 0"),
    )
    rows = " UNION ALL ".join(
        _of_each("names", table, f"{columns}, {held}", f"t.account_id = n.id AND {condition}", dialect)
        for table, held, condition in parts
    )
    return f"({rows}) c"


def _counted(within: Range) -> str:
    """Up to where a count not older than :number carried the accounts of a range."""
    return (
        "SELECT account_id AS id, seq, ledger_id, 1 AS carried FROM counted"
        f" WHERE number >= :number AND {within.covers('account_id')}"
    )


def _part(source: str, subject: str, **values: str) -> str:
    columns = ", ".join(f"{values.get(name, '0')} AS {name}" for name in SUMS)
    return f"SELECT {subject} AS id, {columns} FROM {source}"


def compare(within: Range, dialect: Dialect, *, full: bool) -> str:
    """The sums over a range, in the order of SUMS, as a row whose id is NULL, and those of accounts that differ."""
    kinds = {column: f"CASE WHEN kind = {kind:d} THEN credits ELSE 0 END" for column, kind in KINDS.items()}
    parts = (
        _part(f"accounts WHERE {within.covers('id')}", "id", accounts="1", balance="balance", held="held"),
        _part(lines(dialect), "account_id", lines="credits", **kinds),
        _part(charged(dialect), "account_id", charged="credits", refunded="refunded", open_held="held"),
        _part(f"usage_daily WHERE {within.covers('account_id')}", "account_id", used="credits"),
    )
    totals = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
    differs = " OR ".join(f"{DERIVED.get(one, one)} <> {DERIVED.get(other, other)}" for one, other in CHECKS.values())
    return (
        f"WITH {names(within, full=full)}, per AS MATERIALIZED"
        f" (SELECT id, {totals} FROM ({' UNION ALL '.join(parts)}) p GROUP BY id)"
        f" SELECT NULL AS id, {', '.join(f'coalesce(sum({name}), 0)' for name in SUMS)} FROM per"
        f" UNION ALL SELECT * FROM (SELECT id, {', '.join(SUMS)} FROM per WHERE {differs}"
        f" ORDER BY id LIMIT {MAX_DIFFERENCES}) d"
    )


def compare_months(within: Range, dialect: Dialect, *, full: bool) -> str:
    """Each key and month of a range that differs, with what its charges and what its own row say."""
    own = _of_each("names", "keys", "t.id", "t.account_id = n.id", dialect)
    months = _of_each("own", "key_months", "t.key_id, t.month, 0, t.spent + t.held", "t.key_id = n.id", dialect)
    return (
        f"WITH {names(within, full=full)}, own AS MATERIALIZED ({own})"
        " SELECT key_id, month, sum(expected), sum(found) FROM"
        f" (SELECT key_id, month, credits + held AS expected, 0 AS found FROM {charged(dialect)} WHERE key_id <> ''"
        f" UNION ALL {months}) both_sides"
        f" GROUP BY key_id, month HAVING sum(expected) <> sum(found) ORDER BY key_id, month LIMIT {MAX_DIFFERENCES}"
    )


# Months that no key's account leads to.
STRAY_MONTHS = (
    "SELECT key_id, month, spent + held FROM key_months m WHERE spent + held <> 0"
    f" AND NOT EXISTS (SELECT 1 FROM keys k WHERE k.id = m.key_id) ORDER BY 1, 2 LIMIT {MAX_DIFFERENCES}"
)


def differences(rows: Sequence[Sequence[Any]]) -> Iterator[Difference]:
    """What compare() found."""
    for subject, *sums in rows:
        values = dict(zip(SUMS, map(int, sums), strict=True))
        values["gross"] = values["charged"] + values["refunded"]
        values["booked"] = -values[f"kind_{EntryKind.CHARGE:d}"]
        values["given_back"] = values[f"kind_{EntryKind.ANSWER_REFUND:d}"]
        for check, (expected, found) in CHECKS.items():
            if values[expected] != values[found]:
                yield Difference(subject, check, values[expected], values[found])


def due(within: Range) -> str:
    """The accounts that have :least charges or more to carry, by their ids, and up to where they are carried."""
    return (
        "SELECT id, max(last_seq) AS last_seq, max(seq) AS seq, max(ledger_id) AS ledger_id, max(carried) AS carried"
        " FROM (SELECT id, last_seq, 0 AS seq, 0 AS ledger_id, 0 AS carried FROM accounts"
        f" WHERE {within.covers('id')} UNION ALL SELECT id, 0, seq, ledger_id, carried FROM ({_counted(within)}) c) a"
        " GROUP BY id HAVING max(last_seq) - max(seq) >= :least ORDER BY id"
    )


def chunks(accounts: Sequence[Sequence[Any]], within: Range, dialect: Dialect) -> Iterator[Range]:
    """Ranges of what due() found, each for one transaction."""
    low, count, lines = within.low, 0, 0
    for position, (account, last_seq, seq, *_) in enumerate(accounts, 1):
        count, lines = count + 1, lines + min(last_seq - seq, SLICE)
        if count == MAX_CARRIED[dialect] or lines >= SLICE or position == len(accounts):
            yield Range(low, account)
            low, count, lines = account, 0, 0


def bounds(within: Range) -> str:
    """What due() finds, and up to where the next step carries it: up to SLICE lines each.

    Charges count up to the first that can still change.
    """
    return (
        "SELECT d.id, d.seq, d.ledger_id, d.carried, coalesce((SELECT min(o.seq) - 1 FROM charges o"
        f" WHERE o.account_id = d.id AND o.seq > d.seq AND o.seq <= d.most AND {sql.CAN_CHANGE}), d.most) AS upto,"
        " coalesce((SELECT max(s.id) FROM (SELECT l.id FROM ledger l WHERE l.account_id = d.id AND l.id > d.ledger_id"
        f" ORDER BY l.id LIMIT {SLICE}) s), d.ledger_id) AS upto_id, d.last_seq FROM"
        f" (SELECT a.*, CASE WHEN last_seq - seq > {SLICE} THEN seq + {SLICE} ELSE last_seq END AS most"
        f" FROM ({due(within)}) a) d"
    )


BOUNDS = ("id", "seq", "ledger_id", "carried", "upto", "upto_id")
# The rows of bounds(), as JSON, in :due.
DUE = {
    "sqlite": ", ".join(f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(BOUNDS)),
    "postgresql": "value ->> 0 AS id, "
    + ", ".join(f"CAST(value ->> {place} AS bigint) AS {name}" for place, name in enumerate(BOUNDS) if place),
}
ROWS = {"sqlite": "json_each(:due)", "postgresql": "jsonb_array_elements(CAST(:due AS jsonb)) AS value"}


def carry(within: Range, dialect: Dialect) -> list[str]:
    """Statements, in one transaction: adds the lines between the bounds in :due to what is carried.

    What an older count than :number carried is begun anew.
    """
    due = f"WITH due AS MATERIALIZED (SELECT {DUE[dialect]} FROM {ROWS[dialect]})"
    columns = "t.account_id, t.key_id, t.month, t.credits, t.refunded"
    kept = _of_each("due", "carried_forward", columns, "t.account_id = n.id AND n.carried = 0", dialect)
    own = "t.account_id = n.id"
    charges = _of_each("due", "charges", columns, f"{own} AND t.seq > n.seq AND t.seq <= n.upto", dialect)
    booked = f"{own} AND t.id > n.ledger_id AND t.id <= n.upto_id"
    ledger = _of_each("due", "ledger", "t.account_id, t.kind, t.credits", booked, dialect)
    keys = (
        "ON CONFLICT (account_id, key_id, month) DO UPDATE SET credits = counted_keys.credits + excluded.credits,"
        " refunded = counted_keys.refunded + excluded.refunded"
    )
    entries = "ON CONFLICT (account_id, kind) DO UPDATE SET credits = counted_entries.credits + excluded.credits"
    return [
        *(
            f"{due} DELETE FROM {table} WHERE {within.covers('account_id')}"
            " AND account_id IN (SELECT id FROM due WHERE carried = 0)"
            for table in ("counted_keys", "counted_entries")
        ),
        f"{due} INSERT INTO counted_keys (account_id, key_id, month, credits, refunded)"
        " SELECT account_id, key_id, month, sum(credits), sum(refunded)"
        f" FROM ({kept} UNION ALL {charges}) c WHERE credits + refunded <> 0 GROUP BY account_id, key_id, month {keys}",
        f"{due} INSERT INTO counted_entries (account_id, kind, credits)"
        f" SELECT account_id, kind, sum(credits) FROM ({ledger}) l WHERE true GROUP BY account_id, kind {entries}",
        f"{due} INSERT INTO counted (account_id, number, seq, ledger_id) SELECT id, :new_number, upto, upto_id FROM due"
        " WHERE true ON CONFLICT (account_id) DO UPDATE SET seq = excluded.seq, ledger_id = excluded.ledger_id,"
        " number = CASE WHEN counted.number >= :number THEN counted.number ELSE excluded.number END",
    ]
