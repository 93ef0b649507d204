"""The rows of the books as records in memory, loaded for one batch under their accounts' locks.

`dirty` marks what the store must write back. A record that is `new` has no row yet.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class State(enum.IntEnum):
    """A hold's life: HELD, then exactly one of the others forever. The numbers are stored."""

    HELD = 1
    SETTLED = 2
    RELEASED = 3
    EXPIRED = 4


@dataclass(slots=True)
class Account:
    """Money in credits; `held <= balance` always. `last_seq` numbers admissions without gaps.

    Nothing writes `debt` and `notify_below` yet: what was taken back beyond the balance, and the balance to warn below.

    `revision` changes with everything that belongs to the account, where several replicas write (replica_memory.py).
    Admissions up to number `clock_seq` count as made at `clock_us` at the latest (domain/clock_steps.py).
    """

    id: str
    balance: int = 0
    held: int = 0
    last_seq: int = 0
    last_admitted_us: int = 0
    version: int = 0
    requests_per_minute: int = 0
    revision: int = 0
    clock_seq: int = 0
    clock_us: int = 0
    debt: int = 0
    notify_below: int | None = None
    new: bool = False
    dirty: bool = False


@dataclass(slots=True)
class Key:
    """A key's limits as last seen, and its own admissions when it has a limit of its own.

    `clock_us` is the account's, `clock_seq` the key's last number when it took that over.
    """

    id: str
    account_id: str
    version: int = -1
    monthly_credit_limit: int | None = None
    requests_per_minute: int | None = None
    last_seq: int = 0
    last_admitted_us: int = 0
    clock_seq: int = 0
    clock_us: int = 0
    dirty: bool = False


@dataclass(slots=True)
class KeyMonth:
    """What a key spent and holds in one UTC month (year * 100 + month); `spent + held <= ceiling` when there is one."""

    key_id: str
    month: int
    spent: int = 0
    held: int = 0
    ceiling: int | None = None
    new: bool = False
    dirty: bool = False


@dataclass(slots=True)
class Hold:
    """One request: first a hold, then a charge, always a receipt. Tokens are sums over all choices, not max_tokens.

    What follows `estimated` is for receipts and reports; None where the edge did not report it.
    `produced` is None until the hold ends, and stays so when the version before ended it.
    """

    id: bytes
    account_id: str
    key_id: str
    session_id: bytes
    seq: int | None
    key_seq: int | None
    model: str
    state: State
    input_price: int
    output_price: int
    choices: int
    prompt_tokens: int
    requested_tokens: int
    max_tokens: int
    covered_tokens: int
    delivered_tokens: int
    output_tokens: int
    held: int
    credits: int
    uncollected: int
    day: str
    month: int
    reserved_us: int
    ended_us: int | None
    unconfirmed: bool = False
    refunded: int = 0
    estimated: bool = False
    endpoint: str | None = None
    member_id: str | None = None
    units: str | None = None
    cached_tokens: int | None = None
    cached_price: int | None = None
    produced: bool | None = None
    end_reason: str | None = None
    first_token_ms: int | None = None
    request_id: str | None = None
    idempotency: str | None = None
    new: bool = False
    dirty: bool = False

    @property
    def awaited(self) -> bool:
        """Whether an operation may still change it: it is open, or its charge is not confirmed."""
        return self.state is State.HELD or self.unconfirmed


class EntryKind(enum.IntEnum):
    """Why a balance changed. The numbers are stored, and are the proto's; those to come are not listed."""

    GRANT = 1
    PURCHASE = 2
    CHARGE = 3
    REFUND = 4
    ANSWER_REFUND = 5


@dataclass(slots=True)
class LedgerEntry:
    """One change of a balance, in signed credits; `(kind, reference)` is unique."""

    account_id: str
    kind: EntryKind
    credits: int
    reference: str
    reason: str
    created_us: int
    balance_after: int


@dataclass(slots=True)
class UsageDelta:
    """What a batch adds to one account's day and model."""

    credits: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class UsageByDelta(UsageDelta):
    """The same for one day, model, endpoint, key and member, and when these last charged something."""

    last_used_us: int = 0


@dataclass(slots=True)
class LossDelta:
    """What a batch adds to the loss book of one account and day, in credits (quota.proto, LossDay)."""

    uncollected: int = 0
    estimate_minus_usage: int = 0
    answer_refunds: int = 0
    retry_refunds: int = 0
    abandoned: int = 0


@dataclass(slots=True)
class Admissions:
    """What is known of an account's (or key's) earlier admissions.

    `times_us` maps sequence numbers to instants: every number that a decision can ask for was loaded or admitted in
    this batch, but for those below `known_from` or `first_in_window`, which are over 60 s old. `first_in_window` is
    the lowest number inside the last 60 s, None when there is none.
    """

    times_us: dict[int, int] = field(default_factory=dict)
    first_in_window: int | None = None
    known_from: int = 0

    def time_of(self, seq: int) -> int:
        """When a request was admitted, 0 when it was more than 60 s ago. KeyError: it should have been loaded."""
        return 0 if seq < max(self.known_from, self.first_in_window or 0) else self.times_us[seq]

    def cap(self, instant_us: int) -> None:
        """No admission counts as later than this instant."""
        self.times_us = {seq: min(time_us, instant_us) for seq, time_us in self.times_us.items()}

    def forget_before(self, instant_us: int, last_seq: int) -> None:
        """Drops what has left the window, for a cache that knows every admission inside it."""
        seq = last_seq + 1 if self.first_in_window is None else self.first_in_window
        while seq <= last_seq and self.times_us[seq] <= instant_us:
            del self.times_us[seq]
            seq += 1
        self.first_in_window = seq if seq <= last_seq else None
        self.known_from = seq


@dataclass(slots=True)
class Books:
    """All records that one batch of operations needs, and what it adds."""

    now_us: int
    set_back_us: int = 0  # when the clock was last seen to be set back; 0: never
    accounts: dict[str, Account] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    months: dict[tuple[str, int], KeyMonth] = field(default_factory=dict)
    holds: dict[bytes, Hold] = field(default_factory=dict)
    account_admissions: dict[str, Admissions] = field(default_factory=dict)
    key_admissions: dict[str, Admissions] = field(default_factory=dict)
    entries: dict[tuple[EntryKind, str], LedgerEntry] = field(default_factory=dict)
    added_entries: list[LedgerEntry] = field(default_factory=list)
    usage: dict[tuple[str, str, str], UsageDelta] = field(default_factory=dict)
    usage_by: dict[tuple[str, str, str, str, str, str], UsageByDelta] = field(default_factory=dict)
    losses: dict[tuple[str, str], LossDelta] = field(default_factory=dict)
