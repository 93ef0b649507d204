"""Auth's tables. Instants are microseconds since the epoch, UTC; secrets appear only as SHA-256 digests.

A change here needs a revision in migrations/versions/.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, text
from sqlalchemy.orm import registry
from sqlmodel import JSON, Field, SQLModel

NOT_REVOKED = text("revoked_us IS NULL")


class Table(SQLModel, registry=registry()):
    """Base with metadata of its own, so that no other service's tables mix in."""


class AccountRow(Table, table=True):
    """One account."""

    __tablename__ = "accounts"
    __table_args__ = (Index("accounts_by_creation", "created_us", "account_id"),)

    account_id: str = Field(primary_key=True)
    email: str = Field(unique=True)  # normalised: NFC, lower case
    state: str
    version: int = Field(sa_type=BigInteger)
    requests_per_minute: int | None = None
    created_us: int = Field(sa_type=BigInteger)


class KeyRow(Table, table=True):
    """One API key."""

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("api_keys_by_creation", "created_us", "key_id"),
        Index("api_keys_of_account", "account_id", "created_us", "key_id"),
        Index("api_keys_not_revoked", "account_id", postgresql_where=NOT_REVOKED, sqlite_where=NOT_REVOKED),
    )

    key_id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="accounts.account_id")
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    name: str
    prefix: str
    last_four: str
    version: int = Field(sa_type=BigInteger)
    monthly_credit_limit: int | None = Field(default=None, sa_type=BigInteger)
    allowed_models: list[str] = Field(default_factory=list, sa_type=JSON)
    requests_per_minute: int | None = None
    created_us: int = Field(sa_type=BigInteger)
    expires_us: int | None = Field(default=None, sa_type=BigInteger)
    revoked_us: int | None = Field(default=None, sa_type=BigInteger)


class SequenceRow(Table, table=True):
    """The one row that numbers changes (store/changes.py says why it is a row)."""

    __tablename__ = "key_sequence"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(primary_key=True)
    last: int = Field(sa_type=BigInteger)


class ChangeRow(Table, table=True):
    """One change. Kept for ever: it is also the record of who lost access when, and grows only by operators' acts."""

    __tablename__ = "key_changes"

    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    kind: str
    account_id: str
    key_id: str
    created_us: int = Field(sa_type=BigInteger)


class SessionRow(Table, table=True):
    """One stream of one edge worker."""

    __tablename__ = "edge_sessions"

    session_id: str = Field(primary_key=True)
    edge_name: str
    last_seen_us: int = Field(sa_type=BigInteger)
    acked_sequence: int = Field(sa_type=BigInteger)
    # Once set, auth has stopped waiting for the session, and nothing may bring it back to life.
    lapsed: bool = False
