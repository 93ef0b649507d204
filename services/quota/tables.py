"""The tables of the books. Constraints here make a negative balance impossible whatever the code does (G1).

Instants are microseconds since the epoch (UTC), days are YYYY-MM-DD, months year * 100 + month, money whole credits.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    Text,
    false,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from services.quota.store.batch.sql import NOT_A_CHARGE, OPEN

BIG_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

# SQLite keeps such a table in its primary key's tree alone: half the pages to touch for a row that is found by its key.
CLUSTERED = {"sqlite_with_rowid": False}


class Base(SQLModel, registry=registry()):
    """Quota's own metadata: another service's tables of the same name are none of its business."""


class AccountRow(Base, table=True):
    """One account's money, its place in its rate window, and the newest limits that quota has seen."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("held >= 0 AND balance >= held", name="never_negative"),
        CheckConstraint("last_seq >= 0", name="seq_counts_up"),
        CLUSTERED,
    )

    id: str = Field(sa_type=Text, primary_key=True)
    balance: int = Field(sa_type=BigInteger)
    held: int = Field(sa_type=BigInteger)
    last_seq: int = Field(sa_type=BigInteger)
    last_admitted_us: int = Field(sa_type=BigInteger)
    version: int = Field(sa_type=BigInteger)
    requests_per_minute: int = Field(sa_type=BigInteger)
    revision: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    clock_seq: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    clock_us: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    debt: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    notify_below: int | None = Field(sa_type=BigInteger)


class KeyRow(Base, table=True):
    """One key's newest limits, and its own place in a window when it has a limit of its own."""

    __tablename__ = "keys"
    __table_args__ = (Index("keys_by_account", "account_id"), CLUSTERED)

    id: str = Field(sa_type=Text, primary_key=True)
    account_id: str = Field(sa_type=Text)
    version: int = Field(sa_type=BigInteger)
    monthly_credit_limit: int | None = Field(sa_type=BigInteger)
    requests_per_minute: int | None = Field(sa_type=BigInteger)
    last_seq: int = Field(sa_type=BigInteger)
    last_admitted_us: int = Field(sa_type=BigInteger)
    clock_seq: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    clock_us: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))


class KeyMonthRow(Base, table=True):
    """What one key spent and holds in one UTC month."""

    __tablename__ = "key_months"
    __table_args__ = (
        CheckConstraint("spent >= 0 AND held >= 0", name="month_never_negative"),
        CheckConstraint("ceiling IS NULL OR spent + held <= ceiling", name="ceiling_kept"),
        CLUSTERED,
    )

    key_id: str = Field(sa_type=Text, primary_key=True)
    month: int = Field(sa_type=Integer, primary_key=True)
    spent: int = Field(sa_type=BigInteger)
    held: int = Field(sa_type=BigInteger)
    ceiling: int | None = Field(sa_type=BigInteger)


class ChargeRow(Base, table=True):
    """One request: its hold while it runs, its receipt afterwards, and its place in the rate window (`seq`).

    In PostgreSQL each month of ids is a partition, with its own indexes (migration 0005, store/partitions.py).
    """

    __tablename__ = "charges"
    __table_args__ = (
        CheckConstraint("held >= 0 AND credits >= 0 AND uncollected >= 0", name="charge_never_negative"),
        CheckConstraint(f"({OPEN}) = (ended_us IS NULL)", name="ended_once"),
        CheckConstraint(f"{OPEN} OR held = 0", name="ended_holds_nothing"),
        Index("charges_by_seq", "account_id", "seq", unique=True),
        Index(
            "charges_by_key_seq",
            "key_id",
            "key_seq",
            unique=True,
            sqlite_where=text("key_seq IS NOT NULL"),
            postgresql_where=text("key_seq IS NOT NULL"),
        ),
        Index("charges_open", "session_id", sqlite_where=text(OPEN), postgresql_where=text(OPEN)),
        Index(
            "charges_unconfirmed", "session_id", sqlite_where=text("unconfirmed"), postgresql_where=text("unconfirmed")
        ),
    )

    hold_id: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    account_id: str = Field(sa_type=Text)
    key_id: str = Field(sa_type=Text)
    session_id: bytes = Field(sa_type=LargeBinary)
    seq: int | None = Field(sa_type=BigInteger)
    key_seq: int | None = Field(sa_type=BigInteger)
    model: str = Field(sa_type=Text)
    state: int = Field(sa_type=Integer)
    input_price: int = Field(sa_type=BigInteger)
    output_price: int = Field(sa_type=BigInteger)
    choices: int = Field(sa_type=Integer)
    prompt_tokens: int = Field(sa_type=BigInteger)
    requested_tokens: int = Field(sa_type=BigInteger)
    max_tokens: int = Field(sa_type=BigInteger)
    covered_tokens: int = Field(sa_type=BigInteger)
    delivered_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    held: int = Field(sa_type=BigInteger)
    credits: int = Field(sa_type=BigInteger)
    uncollected: int = Field(sa_type=BigInteger)
    day: str = Field(sa_type=Text)
    month: int = Field(sa_type=Integer)
    reserved_us: int = Field(sa_type=BigInteger)
    ended_us: int | None = Field(sa_type=BigInteger)
    unconfirmed: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=false()))
    refunded: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    estimated: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=false()))
    endpoint: str | None = Field(sa_type=Text)
    member_id: str | None = Field(sa_type=Text)
    units: str | None = Field(sa_type=Text)
    cached_tokens: int | None = Field(sa_type=BigInteger)
    cached_price: int | None = Field(sa_type=BigInteger)
    produced: bool | None = Field(sa_type=Boolean)
    end_reason: str | None = Field(sa_type=Text)
    first_token_ms: int | None = Field(sa_type=BigInteger)
    request_id: str | None = Field(sa_type=Text)
    idempotency: str | None = Field(sa_type=Text)


class CarriedForwardRow(Base, table=True):
    """What a key's charges of one month cost that are no longer kept: charges and these add up to what was charged."""

    __tablename__ = "carried_forward"
    __table_args__ = (CheckConstraint("credits >= 0", name="carried_never_negative"), CLUSTERED)

    account_id: str = Field(sa_type=Text, primary_key=True)
    key_id: str = Field(sa_type=Text, primary_key=True)
    month: int = Field(sa_type=Integer, primary_key=True)
    credits: int = Field(sa_type=BigInteger)
    refunded: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))


class LedgerRow(Base, table=True):
    """Every change of every balance; rows are only ever added. The sum of an account's rows is its balance."""

    __tablename__ = "ledger"
    __table_args__ = (
        # Charges are booked once because their hold ends once; an index over all of them would double their cost.
        Index(
            "booked_once",
            "kind",
            "reference",
            unique=True,
            sqlite_where=text(NOT_A_CHARGE),
            postgresql_where=text(NOT_A_CHARGE),
        ),
        Index("ledger_by_account", "account_id", "id"),
    )

    id: int | None = Field(default=None, sa_column=Column(BIG_ID, primary_key=True, autoincrement=True))
    account_id: str = Field(sa_type=Text)
    kind: int = Field(sa_type=Integer)
    credits: int = Field(sa_type=BigInteger)
    reference: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    created_us: int = Field(sa_type=BigInteger)
    balance_after: int = Field(sa_type=BigInteger)


class CountedRow(Base, table=True):
    """Up to which charge and ledger line an account's sums are carried from count to count, and since which."""

    __tablename__ = "counted"
    __table_args__ = CLUSTERED

    account_id: str = Field(sa_type=Text, primary_key=True)
    number: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)
    ledger_id: int = Field(sa_type=BigInteger)


class CountedKeyRow(Base, table=True):
    """What the charges up to there cost, by key and month."""

    __tablename__ = "counted_keys"
    __table_args__ = CLUSTERED

    account_id: str = Field(sa_type=Text, primary_key=True)
    key_id: str = Field(sa_type=Text, primary_key=True)
    month: int = Field(sa_type=Integer, primary_key=True)
    credits: int = Field(sa_type=BigInteger)
    refunded: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))


class CountedEntryRow(Base, table=True):
    """What the ledger's lines up to there add up to, by kind."""

    __tablename__ = "counted_entries"
    __table_args__ = CLUSTERED

    account_id: str = Field(sa_type=Text, primary_key=True)
    kind: int = Field(sa_type=Integer, primary_key=True)
    credits: int = Field(sa_type=BigInteger)


class BookCountRow(Base, table=True):
    """The last count of the books, one row for all replicas: what it found, and the number of the last full one."""

    __tablename__ = "book_counts"

    id: int = Field(sa_type=Integer, primary_key=True)
    number: int = Field(sa_type=BigInteger)
    full_us: int = Field(sa_type=BigInteger)
    full_seconds: float = Field(sa_type=Float)
    counted_us: int = Field(sa_type=BigInteger)
    seconds: float = Field(sa_type=Float)
    differences: int = Field(sa_type=Integer)
    balance: int = Field(sa_type=BigInteger)
    held: int = Field(sa_type=BigInteger)


class UsageDailyRow(Base, table=True):
    """Settled requests of one account, UTC day and model; written in the settling transaction."""

    __tablename__ = "usage_daily"
    __table_args__ = CLUSTERED

    account_id: str = Field(sa_type=Text, primary_key=True)
    day: str = Field(sa_type=Text, primary_key=True)
    model: str = Field(sa_type=Text, primary_key=True)
    credits: int = Field(sa_type=BigInteger)
    requests: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)


class UsageByRow(Base, table=True):
    """The same by endpoint, key and member; `member_id` is '' when there is none. Written with it.

    It begins with the charges that were kept when it was made (migration 0012).
    """

    __tablename__ = "usage_by"
    __table_args__ = CLUSTERED

    account_id: str = Field(sa_type=Text, primary_key=True)
    day: str = Field(sa_type=Text, primary_key=True)
    model: str = Field(sa_type=Text, primary_key=True)
    endpoint: str = Field(sa_type=Text, primary_key=True)
    key_id: str = Field(sa_type=Text, primary_key=True)
    member_id: str = Field(sa_type=Text, primary_key=True)
    credits: int = Field(sa_type=BigInteger)
    requests: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    last_used_us: int = Field(sa_type=BigInteger)


class LossRow(Base, table=True):
    """What one account's requests of a UTC day cost the operator beyond what was charged (quota.proto, LossDay)."""

    __tablename__ = "losses"
    __table_args__ = CLUSTERED

    day: str = Field(sa_type=Text, primary_key=True)
    account_id: str = Field(sa_type=Text, primary_key=True)
    uncollected: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    estimate_minus_usage: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    answer_refunds: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    retry_refunds: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    abandoned: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    forgiven: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))


class SessionRow(Base, table=True):
    """One edge worker's session and how long its holds live."""

    __tablename__ = "sessions"
    __table_args__ = CLUSTERED

    id: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    edge_name: str = Field(sa_type=Text)
    lease_until_us: int = Field(sa_type=BigInteger)
