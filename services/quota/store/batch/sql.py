"""Parts of statements that both databases share. Enums become their stored numbers here: partial indexes
(`WHERE state = 1`) are found only by a statement that has the number in its text."""

from __future__ import annotations

from collections.abc import Sequence

from services.quota.domain.records import EntryKind, State

OPEN = f"state = {State.HELD:d}"
CAN_CHANGE = f"({OPEN} OR unconfirmed)"  # a charge that some operation may still change
FINAL = f"NOT {CAN_CHANGE}"
NOT_A_CHARGE = f"kind <> {EntryKind.CHARGE:d}"  # ledger lines that are booked once by their reference

# The ids of charges that are open, or unconfirmed, and whose session's lease ended before {now}, oldest first, at most
# {limit}; {charges} are those of the session l.id, as c. It goes from one session with such charges to the next by an
# index, so that the holds of sessions that are alive are not read, however many there are. A session that has no row
# counts as lapsed.
FIND_LAPSED = """
WITH RECURSIVE found(id) AS (
    SELECT * FROM (SELECT session_id FROM charges WHERE {which} ORDER BY session_id LIMIT 1) f
    UNION ALL
    SELECT (SELECT c.session_id FROM charges c WHERE {which} AND c.session_id > found.id ORDER BY c.session_id LIMIT 1)
    FROM found WHERE found.id IS NOT NULL
), lapsed AS MATERIALIZED (
    SELECT f.id FROM found f LEFT JOIN sessions s ON s.id = f.id
    WHERE f.id IS NOT NULL AND coalesce(s.lease_until_us, 0) < {now}
)
SELECT c.hold_id FROM lapsed l CROSS JOIN {charges} ORDER BY c.reserved_us LIMIT {limit}
"""

# Adds what charges cost that are about to be dropped to what is carried forward; {source} is a table or subquery.
CARRY = (
    "INSERT INTO carried_forward (account_id, key_id, month, credits, refunded)"
    " SELECT account_id, key_id, month, sum(credits), sum(refunded) FROM {source}"
    " WHERE credits > 0 OR refunded > 0 GROUP BY 1, 2, 3"
    " ON CONFLICT (account_id, key_id, month) DO UPDATE SET credits = carried_forward.credits + excluded.credits,"
    " refunded = carried_forward.refunded + excluded.refunded"
)


def insert(table: str, names: Sequence[str], rows: str) -> str:
    """Inserts `rows`: a VALUES list or a SELECT with a value for each name."""
    return f"INSERT INTO {table} ({', '.join(names)}) {rows}"


def upsert(
    table: str, names: Sequence[str], rows: str, *, key: Sequence[str], add: bool = False, newest: str = ""
) -> str:
    """The same, where rows that are there by `key` are changed.

    `add`: the new values are added to the old ones, but for the column `newest`, which takes the larger one.
    """

    def value(name: str) -> str:
        old, new = f"{table}.{name}", f"excluded.{name}"
        if name == newest:
            return f"CASE WHEN {new} > {old} THEN {new} ELSE {old} END"
        return f"{old} + {new}" if add else new

    changes = (f"{name} = {value(name)}" for name in names if name not in key)
    return f"{insert(table, names, rows)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(changes)}"
