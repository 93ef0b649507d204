"""The books counted again from their rows (G12): what must be equal, and every account where it is not."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.quota.domain.records import EntryKind, State

MOST_DIFFERENCES = 100

# Charges, and the sums of those that are no longer kept.
CHARGED = (
    "(SELECT account_id, key_id, month, credits, refunded, held FROM charges"
    " UNION ALL SELECT account_id, key_id, month, credits, refunded, 0 FROM carried_forward) charged"
)
# Each gives an account's number by two ways of counting. An account without a row counts as 0 on that side.
CHECKS = {
    "balance = sum of ledger": (
        "SELECT account_id AS id, sum(credits) AS n FROM ledger GROUP BY account_id",
        "SELECT id, balance AS n FROM accounts",
    ),
    "held = sum of open holds": (
        f"SELECT account_id AS id, sum(held) AS n FROM charges WHERE state = {State.HELD:d} GROUP BY account_id",
        "SELECT id, held AS n FROM accounts",
    ),
    "charged in ledger = sum of charges": (
        f"SELECT account_id AS id, sum(credits + refunded) AS n FROM {CHARGED} GROUP BY account_id",
        "SELECT account_id AS id, -sum(credits) AS n FROM ledger"
        f" WHERE kind = {EntryKind.CHARGE:d} GROUP BY account_id",
    ),
    "answers refunded in ledger = sum of charges": (
        f"SELECT account_id AS id, sum(refunded) AS n FROM {CHARGED} GROUP BY account_id",
        "SELECT account_id AS id, sum(credits) AS n FROM ledger"
        f" WHERE kind = {EntryKind.ANSWER_REFUND:d} GROUP BY account_id",
    ),
    "usage = sum of charges": (
        f"SELECT account_id AS id, sum(credits) AS n FROM {CHARGED} GROUP BY account_id",
        "SELECT account_id AS id, sum(credits) AS n FROM usage_daily GROUP BY account_id",
    ),
    "key months = sum of charges": (
        f"SELECT key_id || ' ' || month AS id, sum(credits + held) AS n FROM {CHARGED} WHERE key_id <> '' GROUP BY 1",
        "SELECT key_id || ' ' || month AS id, spent + held AS n FROM key_months",
    ),
}
COMPARE = (  # a FULL JOIN without FULL JOIN, which older SQLite lacks
    "SELECT id, sum(expected), sum(found) FROM (SELECT e.id, e.n AS expected, 0 AS found FROM ({expected}) e"
    " UNION ALL SELECT f.id, 0, f.n FROM ({found}) f) both_sides"
    " GROUP BY id HAVING sum(expected) <> sum(found) ORDER BY id LIMIT {limit}"
)
SUMS = "SELECT count(*), coalesce(sum(balance), 0), coalesce(sum(held), 0) FROM accounts"
BY_KIND = "SELECT kind, sum(credits) FROM ledger GROUP BY kind"
OPEN = f"SELECT count(*), min(reserved_us) FROM charges WHERE state = {State.HELD:d}"


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


async def recount(connection: AsyncConnection) -> Recount:
    """Counts within the connection's transaction, which must be a snapshot. Reads every row."""
    differences = []
    for check, (expected, found) in CHECKS.items():
        statement = COMPARE.format(expected=expected, found=found, limit=MOST_DIFFERENCES)
        for subject, one, other in await connection.execute(text(statement)):
            differences.append(Difference(subject, check, int(one), int(other)))
    accounts, balance, held = (await connection.execute(text(SUMS))).one()
    by_kind = {kind: int(credits) for kind, credits in await connection.execute(text(BY_KIND))}
    open_holds, oldest = (await connection.execute(text(OPEN))).one()
    return Recount(
        accounts=accounts,
        totals={kind: by_kind.get(kind, 0) for kind in EntryKind},
        balance=int(balance),
        held=int(held),
        open_holds=open_holds,
        oldest_hold_us=oldest,
        differences=differences[:MOST_DIFFERENCES],
    )
