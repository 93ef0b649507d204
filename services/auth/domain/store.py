"""What auth's domain asks of a database. services/auth/store/ answers, for SQLite and PostgreSQL alike.

Every method is one transaction and may raise DatabaseUnavailable; the outcome of a write is then unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.auth.domain.account import Account, AccountState
from services.auth.domain.change import Change
from services.auth.domain.key import Key, NewKey
from services.auth.domain.page import Cursor


class AccountStore(Protocol):
    """Accounts. A method that changes one returns the sequence that edges must have acknowledged."""

    async def create(self, account: Account) -> None:
        """Raises EmailTaken."""
        ...

    async def by_id(self, account_id: str) -> Account:
        """Raises AccountUnknown."""
        ...

    async def by_email(self, email: str) -> Account:
        """Takes a normalised email. Raises AccountUnknown."""
        ...

    async def page(self, after: Cursor | None, limit: int) -> Sequence[Account]:
        """Oldest first."""
        ...

    async def count(self) -> int:
        """How many there are, suspended ones included."""
        ...

    async def set_limits(self, account_id: str, requests_per_minute: int | None, now_us: int) -> Account:
        """No change when the limits are these already. Raises AccountUnknown."""
        ...

    async def set_state(self, account_id: str, state: AccountState, now_us: int) -> tuple[Account, int]:
        """No change when the state is this already. Raises AccountUnknown."""
        ...


@dataclass(frozen=True)
class Found:
    """A key and its account, and the last change that was committed before they were read."""

    key: Key
    account: Account
    sequence: int


class KeyStore(Protocol):
    """Keys, by digest or id."""

    async def create(self, new: NewKey, most_active: int) -> None:
        """Raises AccountUnknown, or TooManyKeys when the account has `most_active` that work at new.key.created_us."""
        ...

    async def find(self, digest: bytes) -> Found | None:
        """A key, its account and the sequence in one snapshot."""
        ...

    async def page(self, account_id: str, after: Cursor | None, limit: int) -> Sequence[Key]:
        """Newest first; of all accounts when account_id is empty. Raises AccountUnknown."""
        ...

    async def revoke(self, key_id: str, now_us: int) -> tuple[Key, int]:
        """Also returns the sequence that edges must have acknowledged, again when repeated. Raises KeyNotFound."""
        ...


@dataclass(frozen=True)
class LateSessions:
    """Sessions that have not acknowledged a change, with the sequence up to which each has."""

    alive: Mapping[str, int]
    lapsed: Mapping[str, int]

    def before(self, sequence: int) -> LateSessions:
        """Only those that have not acknowledged `sequence`."""
        alive, lapsed = (
            {session_id: acknowledged for session_id, acknowledged in each.items() if acknowledged < sequence}
            for each in (self.alive, self.lapsed)
        )
        return LateSessions(alive, lapsed)


MAX_REPLAY = 1_000  # changes that a new session is sent again; an edge that missed more asks for its keys anew


@dataclass(frozen=True)
class Known:
    """The last change in force at an edge, and the session in which it came."""

    sequence: int
    session_id: str


class ChangeStore(Protocol):
    """Changes, and the edge sessions that must acknowledge them. Times are the database's own where it has a clock."""

    async def last_sequence(self) -> int:
        """The newest change's sequence; 0 before the first."""
        ...

    async def after(self, sequence: int, limit: int) -> Sequence[Change]:
        """The next changes, in order."""
        ...

    async def open_session(self, session_id: str, edge_name: str, known: Known | None, ttl: float) -> int:
        """Returns the sequence up to which the session is taken to have acknowledged; later changes are to be sent.

        That is known.sequence when the session that knew it is alive, which the new one then resumes: at most
        MAX_REPLAY changes came since, and the new session has been silent for as long as the old one until it is
        touched. Else it is the newest sequence. Raises HelloExpected when the id was used.
        """
        ...

    async def touch_sessions(self, acknowledged: Mapping[str, int], ttl: float) -> frozenset[str]:
        """Notes that sessions are alive and what they have acknowledged; returns those that had not lapsed before."""
        ...

    async def close_session(self, session_id: str) -> None:
        """Forgets a session whose edge no longer trusts its cache."""
        ...

    async def late_sessions(self, sequence: int, ttl: float) -> LateSessions:
        """The sessions that have not acknowledged `sequence`. One reported lapsed can never be touched again."""
        ...
