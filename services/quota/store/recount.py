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

from services.quota.domain.records import EntryKind, State

MAX_DIFFERENCES = 100
MAX_CARRIED = 50  # accounts in one transaction that adds to what is carried: in SQLite others cannot write meanwhile
SLICE = 5_000  # lines of one account that one transaction adds to what is carried

OPEN = (  # grouped by what no index is ordered by, so that SQLite takes the index of the open ones and not that
    "SELECT coalesce(sum(n), 0), min(oldest) FROM (SELECT count(*) AS n, min(reserved_us) AS oldest FROM charges"
    f" WHERE state = {State.HELD:d} GROUP BY session_id) sessions"
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
    """The accounts of a range, and up to where they are carried by a count not older than :number."""
    tables = [("accounts", "id"), ("counted", "account_id")]
    if full:  # lines of accounts that have no row themselves
        tables += [(table, "account_id") for table in ("ledger", "charges", "carried_forward")]
    ids = " UNION ".join(
        f"SELECT {column} AS id FROM {table} WHERE {within.covers(column)}" for table, column in tables
    )
    return (
        "names AS MATERIALIZED (SELECT i.id, coalesce(c.seq, 0) AS seq, coalesce(c.ledger_id, 0) AS ledger_id,"
        f" CASE WHEN c.account_id IS NULL THEN 0 ELSE 1 END AS carried FROM ({ids}) i"
        f" LEFT JOIN {_counted(within)} ON c.account_id = i.id)"
    )


# Joins are written so that both databases begin with the accounts' names. PostgreSQL may not, while it has no
# statistics of a table that a count has just filled; so each table is bounded by the range, too.
def lines(within: Range) -> str:
    """The ledger's lines of a range, those that are carried as their sums."""
    return (
        "(SELECT e.account_id, e.kind, e.credits FROM names n CROSS JOIN counted_entries e"
        f" WHERE e.account_id = n.id AND n.carried = 1 AND {within.covers('e.account_id')}"
        " UNION ALL SELECT l.account_id, l.kind, l.credits FROM names n CROSS JOIN ledger l"
        f" WHERE l.account_id = n.id AND l.id > n.ledger_id AND {within.covers('l.account_id')}) l"
    )


def charged(within: Range) -> str:
    """The charges of a range, those that are carried or no longer kept as their sums."""
    return (
        "(SELECT k.account_id, k.key_id, k.month, k.credits, k.refunded, 0 AS held"
        " FROM names n CROSS JOIN counted_keys k"
        f" WHERE k.account_id = n.id AND n.carried = 1 AND {within.covers('k.account_id')}"
        " UNION ALL SELECT c.account_id, c.key_id, c.month, c.credits, c.refunded, c.held"
        " FROM names n CROSS JOIN charges c"
        f" WHERE c.account_id = n.id AND c.seq > n.seq AND {within.covers('c.account_id')}"
        " UNION ALL SELECT f.account_id, f.key_id, f.month, f.credits, f.refunded, 0"
        " FROM names n CROSS JOIN carried_forward f"
        f" WHERE f.account_id = n.id AND n.carried = 0 AND {within.covers('f.account_id')}) c"
    )


def _counted(within: Range) -> str:
    """What a count not older than :number carried of a range, for a join by account."""
    return f"(SELECT * FROM counted WHERE number >= :number AND {within.covers('account_id')}) c"


def _part(source: str, subject: str, **values: str) -> str:
    columns = ", ".join(f"{values.get(name, '0')} AS {name}" for name in SUMS)
    return f"SELECT {subject} AS id, {columns} FROM {source}"


def compare(within: Range, *, full: bool) -> str:
    """The sums over a range, in the order of SUMS, as a row whose id is NULL, and those of accounts that differ."""
    kinds = {column: f"CASE WHEN kind = {kind:d} THEN credits ELSE 0 END" for column, kind in KINDS.items()}
    parts = (
        _part(f"accounts WHERE {within.covers('id')}", "id", accounts="1", balance="balance", held="held"),
        _part(lines(within), "account_id", lines="credits", **kinds),
        _part(charged(within), "account_id", charged="credits", refunded="refunded", open_held="held"),
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


def compare_months(within: Range, *, full: bool) -> str:
    """Each key and month of a range that differs, with what its charges and what its own row say."""
    return (
        f"WITH {names(within, full=full)}, own AS MATERIALIZED (SELECT k.id FROM names n CROSS JOIN keys k"
        f" WHERE k.account_id = n.id AND {within.covers('k.account_id')})"
        " SELECT key_id, month, sum(expected), sum(found) FROM"
        f" (SELECT key_id, month, credits + held AS expected, 0 AS found FROM {charged(within)} WHERE key_id <> ''"
        " UNION ALL SELECT m.key_id, m.month, 0, m.spent + m.held FROM own CROSS JOIN key_months m"
        " WHERE m.key_id = own.id) both_sides"
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
    """How many accounts have :least lines or more to carry, and a number that changes as they are carried."""
    return (
        "SELECT count(*), coalesce(sum(coalesce(c.seq, 0) + coalesce(c.ledger_id, 0)), 0) FROM accounts a"
        f" LEFT JOIN {_counted(within)} ON c.account_id = a.id"
        f" WHERE {within.covers('a.id')} AND a.last_seq - coalesce(c.seq, 0) >= :least"
    )


def carry(within: Range) -> list[str]:
    """Statements, in one transaction: adds up to SLICE lines each of some accounts that have :least to what is carried.

    Charges count up to the first that can still change. What an older count than :number carried is begun anew.
    """
    due = (
        "WITH due AS MATERIALIZED (SELECT d.*, coalesce((SELECT min(o.seq) - 1 FROM charges o WHERE o.account_id = d.id"
        f" AND o.seq > d.seq AND o.seq <= d.most AND (o.state = {State.HELD:d} OR o.unconfirmed)), d.most) AS upto,"
        " coalesce((SELECT max(s.id) FROM (SELECT l.id FROM ledger l WHERE l.account_id = d.id AND l.id > d.ledger_id"
        f" ORDER BY l.id LIMIT {SLICE}) s), d.ledger_id) AS upto_id FROM (SELECT a.id, coalesce(c.seq, 0) AS seq,"
        " coalesce(c.ledger_id, 0) AS ledger_id, CASE WHEN c.account_id IS NULL THEN 0 ELSE 1 END AS carried,"
        f" CASE WHEN a.last_seq - coalesce(c.seq, 0) > {SLICE} THEN coalesce(c.seq, 0) + {SLICE} ELSE a.last_seq END"
        " AS most FROM accounts a"
        f" LEFT JOIN {_counted(within)} ON c.account_id = a.id"
        f" WHERE {within.covers('a.id')} AND a.last_seq - coalesce(c.seq, 0) >= :least"
        f" ORDER BY a.id LIMIT {MAX_CARRIED}) d)"
    )
    keys = (
        "ON CONFLICT (account_id, key_id, month) DO UPDATE SET credits = counted_keys.credits + excluded.credits,"
        " refunded = counted_keys.refunded + excluded.refunded"
    )
    entries = "ON CONFLICT (account_id, kind) DO UPDATE SET credits = counted_entries.credits + excluded.credits"
    return [
        *(
            f"{due} DELETE FROM {table} WHERE account_id IN (SELECT id FROM due WHERE carried = 0)"
            for table in ("counted_keys", "counted_entries")
        ),
        f"{due} INSERT INTO counted_keys (account_id, key_id, month, credits, refunded)"
        " SELECT f.account_id, f.key_id, f.month, f.credits, f.refunded FROM due d CROSS JOIN carried_forward f"
        " WHERE f.account_id = d.id AND d.carried = 0",
        f"{due} INSERT INTO counted_keys (account_id, key_id, month, credits, refunded)"
        " SELECT c.account_id, c.key_id, c.month, sum(c.credits), sum(c.refunded) FROM due d CROSS JOIN charges c"
        " WHERE c.account_id = d.id AND c.seq > d.seq AND c.seq <= d.upto AND c.credits + c.refunded <> 0"
        f" GROUP BY c.account_id, c.key_id, c.month {keys}",
        f"{due} INSERT INTO counted_entries (account_id, kind, credits)"
        " SELECT l.account_id, l.kind, sum(l.credits) FROM due d CROSS JOIN ledger l"
        " WHERE l.account_id = d.id AND l.id > d.ledger_id AND l.id <= d.upto_id"
        f" GROUP BY l.account_id, l.kind {entries}",
        f"{due} INSERT INTO counted (account_id, number, seq, ledger_id) SELECT id, :new_number, upto, upto_id FROM due"
        " WHERE true ON CONFLICT (account_id) DO UPDATE SET seq = excluded.seq, ledger_id = excluded.ledger_id,"
        " number = CASE WHEN counted.number >= :number THEN counted.number ELSE excluded.number END",
    ]


@dataclass(frozen=True)
class Difference:
    """Where two ways of counting disagree; `subject` is an account, or a key and its month."""

    subject: str
    check: str
    expected: int
    found: int


@dataclass(frozen=True)
class Recount:
    """Sums over all accounts, in credits, and where they differ. Instants in microseconds."""

    accounts: int
    totals: dict[EntryKind, int]
    balance: int
    held: int
    open_holds: int
    oldest_hold_us: int | None
    differences: list[Difference]
