"""An account: who pays, by which email, with which limits."""

from __future__ import annotations

import enum
import re
import unicodedata
from dataclasses import dataclass

from services.auth.domain.errors import EmailMalformed

MAX_EMAIL_LENGTH = 254
MAX_LOCAL_LENGTH = 64

# Deliberately less than RFC 5321: no quotes, comments or address literals, which no mail provider gives out. A domain
# of one label is allowed, for accounts such as you@localhost.
_LOCAL = r"[^\s@.\"(),:;<>\[\]\\]+(?:\.[^\s@.\"(),:;<>\[\]\\]+)*"
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"({_LOCAL})@{_LABEL}(?:\.{_LABEL})*")


class AccountState(enum.StrEnum):
    """Whether the account's keys work."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True)
class Account:
    """One account. `version` rises with each change of state or limits; created_us is microseconds since the epoch."""

    account_id: str
    email: str
    state: AccountState
    version: int
    requests_per_minute: int | None
    created_us: int


def normalise_email(text: str) -> str:
    """The form in which emails are stored and compared: NFC, lower case. Raises EmailMalformed."""
    email = unicodedata.normalize("NFC", text.strip()).lower()
    if len(email) > MAX_EMAIL_LENGTH:
        raise EmailMalformed(f"an email has at most {MAX_EMAIL_LENGTH} characters, this one {len(email)}")
    match = _EMAIL.fullmatch(email)
    if match is None or len(match[1]) > MAX_LOCAL_LENGTH or not email.isprintable():
        raise EmailMalformed("this is not one email address; write it as name@example.com")
    return email
