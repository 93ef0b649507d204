"""What can be read of the books: the records of a report, and the port that reads them."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from servicekit.clock import MICROSECONDS
from services.quota.domain.records import EntryKind, Hold

FULL_AT_ONCE = 10.0  # seconds of a full count that is no burden
FULL_EVERY = 86_400.0  # seconds


@dataclass(frozen=True)
class Balance:
    """Credits not yet charged, and how many of them are in open holds."""

    balance: int
    held: int


@dataclass(frozen=True)
class Usage:
    """Settled requests between two UTC days. Days are (day, credits, requests), models (model, credits)."""

    credits: int
    tokens: int
    requests: int
    days: list[tuple[str, int, int]]
    models: list[tuple[str, int]]


@dataclass(frozen=True)
class LedgerLine:
    """One change of a balance as it is stored; `kind` may be one that a later version has written."""

    id: int
    kind: int
    credits: int
    reference: str
    reason: str
    created_us: int


@dataclass(frozen=True)
class LossDay:
    """The loss book of one account and UTC day, in credits (quota.proto)."""

    account_id: str
    day: str
    uncollected: int
    estimate_minus_usage: int
    answer_refunds: int
    retry_refunds: int
    abandoned: int
    forgiven: int


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


@dataclass(frozen=True)
class Counted:
    """What the last count found, on any replica; instants in microseconds, spans in seconds."""

    number: int = 0  # of the last full count
    full_us: int = 0
    full_seconds: float = 0.0
    counted_us: int = 0
    seconds: float = 0.0
    differences: int = 0
    balance: int = 0
    held: int = 0

    def full_is_due(self, now_us: int) -> bool:
        """Whether the next count should read every line."""
        age = (now_us - self.full_us) / MICROSECONDS
        return self.full_seconds < FULL_AT_ONCE or not 0 <= age < FULL_EVERY


class Reports(Protocol):
    """The reading side of the books, beside the requests. Every method raises DatabaseUnavailable."""

    async def balance(self, account_id: str) -> Balance:
        """An unknown account has nothing."""
        ...

    async def usage(self, account_id: str, start_day: str, end_day: str) -> tuple[Balance, Usage]:
        """Usage between two days (YYYY-MM-DD, both inclusive) and the balance, in one snapshot."""
        ...

    async def charges(self, account_id: str, limit: int, after: bytes | None) -> list[Hold]:
        """Receipts by admission, newest first, older than the one with this hold id. Raises CursorMalformed.

        When that one is no longer kept, none older is: the list is at its end.
        """
        ...

    async def charge(self, hold_id: bytes) -> tuple[Hold, str]:
        """One charge, and the name of the edge that made it. Raises ChargeUnknown."""
        ...

    async def ledger(self, account_id: str, limit: int, before_id: int | None) -> list[LedgerLine]:
        """Lines, newest first, with ids below before_id."""
        ...

    async def losses(self, account_id: str, start_day: str, end_day: str, limit: int, offset: int) -> list[LossDay]:
        """The loss book between two UTC days (both inclusive), of one account or of all (""), newest day first."""
        ...

    async def losing(self, day: str, limit: int) -> list[str]:
        """The accounts whose losses of the day are above the limit, forgiven ones not counted."""
        ...

    async def losses_of_day(self, day: str) -> tuple[dict[str, int], int]:
        """The day's sums over all accounts by kind, and the most that one account has of all kinds."""
        ...

    async def open_holds(self) -> tuple[int, int | None]:
        """How many holds are open, and when the oldest was reserved, in microseconds since the epoch."""
        ...

    async def recount(self, *, full: bool = False, patient: bool = False) -> Recount:
        """Counts the books again from their rows (G12).

        `full`: every line, however long it takes; else that is decided by how long it took last. `patient`: no
        caller waits for the result. Ends at once when it is cancelled.
        """
        ...

    async def last_count(self) -> Counted:
        """What the last count found, on any replica."""
        ...

    def only_one(self) -> AbstractAsyncContextManager[bool]:
        """False: another replica counts, or True: none will until the block ends."""
        ...
