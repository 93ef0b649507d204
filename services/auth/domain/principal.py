"""A principal: all that an edge must know about a caller to serve one request."""

from __future__ import annotations

from dataclasses import dataclass

from services.auth.domain.account import Account, AccountState
from services.auth.domain.errors import AccountSuspended, KeyExpired, KeyRevoked
from services.auth.domain.key import Key, KeyState


@dataclass(frozen=True)
class Defaults:
    """The platform's limits for accounts that have none of their own."""

    requests_per_minute: int
    max_open_streams: int


@dataclass(frozen=True)
class Principal:
    """A key and its account, with the platform's defaults filled in."""

    account: Account
    key: Key
    requests_per_minute: int
    max_open_streams: int


@dataclass(frozen=True)
class Authentication:
    """A principal, and the last change that this answer has taken into account."""

    principal: Principal
    as_of_sequence: int


def admit(key: Key, account: Account, defaults: Defaults, now_us: int) -> Principal:
    """The principal of a key that works now. Raises KeyRevoked, KeyExpired or AccountSuspended."""
    match key.state(now_us):
        case KeyState.REVOKED:
            raise KeyRevoked("this key was revoked; use another one")
        case KeyState.EXPIRED:
            raise KeyExpired("this key has expired; make another one")
    if account.state is AccountState.SUSPENDED:
        raise AccountSuspended("this account is suspended; ask the operator")
    own = account.requests_per_minute
    return Principal(
        account=account,
        key=key,
        requests_per_minute=defaults.requests_per_minute if own is None else own,
        max_open_streams=defaults.max_open_streams,
    )
