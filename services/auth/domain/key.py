"""An API key: its terms, its state, and how a new one is made."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from common import key_format
from services.auth.domain import limits
from services.auth.domain.errors import ExpiryInPast, LimitOutOfRange, NameTooLong, TextMalformed

MAX_ACTIVE_KEYS = 10  # of one account (docs/wire.md)
SHOWN_PREFIX = len(key_format.PREFIX) + 4
SHOWN_SUFFIX = 4


class KeyState(enum.Enum):
    """What a key is at an instant."""

    ACTIVE = enum.auto()
    REVOKED = enum.auto()
    EXPIRED = enum.auto()


@dataclass(frozen=True)
class KeyTerms:
    """What an operator asks of a new key; instants are microseconds since the epoch, limits as in auth.proto."""

    name: str = ""
    monthly_credit_limit: int | None = None
    allowed_models: tuple[str, ...] = ()
    expires_us: int | None = None
    requests_per_minute: int | None = None

    def check(self, now_us: int) -> None:
        """Raises LimitOutOfRange, ExpiryInPast, NameTooLong or TextMalformed."""
        if len(self.name) > limits.MAX_NAME_LENGTH:
            raise NameTooLong(
                f"a key's name has at most {limits.MAX_NAME_LENGTH} characters, this one {len(self.name)}"
            )
        if not self.name.isprintable():
            raise TextMalformed("a key's name must be of printable characters, on one line", field="name")
        limits.check_range("monthly_credit_limit", self.monthly_credit_limit, limits.MAX_CREDITS)
        limits.check_requests_per_minute(self.requests_per_minute)
        self._check_models()
        if self.expires_us is not None and self.expires_us <= now_us:
            raise ExpiryInPast("expires_at is not in the future; choose a later instant or leave it out")

    def _check_models(self) -> None:
        if len(self.allowed_models) > limits.MAX_MODELS:
            raise LimitOutOfRange(
                f"allowed_models has at most {limits.MAX_MODELS} entries, not {len(self.allowed_models)}; "
                "leave it empty to allow all",
                field="allowed_models",
            )
        for model in self.allowed_models:
            if not 1 <= len(model) <= limits.MAX_MODEL_LENGTH:
                raise LimitOutOfRange(
                    f"a model's name in allowed_models has 1 to {limits.MAX_MODEL_LENGTH} characters",
                    field="allowed_models",
                )
            if not model.isprintable():
                raise TextMalformed("a model's name must be of printable characters", field="allowed_models")


@dataclass(frozen=True)
class Key:
    """One key without its secret. `version` rises with each change of state or limits."""

    key_id: str
    account_id: str
    prefix: str
    last_four: str
    terms: KeyTerms
    version: int
    created_us: int
    revoked_us: int | None = None

    def state(self, now_us: int) -> KeyState:
        """Revoked for ever, else expired from its instant on, else active."""
        if self.revoked_us is not None:
            return KeyState.REVOKED
        if self.terms.expires_us is not None and self.terms.expires_us <= now_us:
            return KeyState.EXPIRED
        return KeyState.ACTIVE


@dataclass(frozen=True)
class NewKey:
    """A key just made. The secret is shown to its maker and never stored."""

    key: Key
    secret: str
    digest: bytes


def mint(account_id: str, terms: KeyTerms, *, random_bytes: key_format.RandomBytes, now_us: int) -> NewKey:
    """Makes a key of checked terms."""
    secret = key_format.mint(random_bytes)
    key = Key(
        key_id=f"key_{random_bytes(12).hex()}",
        account_id=account_id,
        prefix=secret[:SHOWN_PREFIX],
        last_four=secret[-SHOWN_SUFFIX:],
        terms=terms,
        version=1,
        created_us=now_us,
    )
    return NewKey(key, secret, key_format.digest(secret))
