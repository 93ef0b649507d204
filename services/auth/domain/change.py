"""A change: something that makes a principal in an edge's cache wrong. Changes are numbered and never deleted."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ChangeKind(enum.StrEnum):
    """What happened; the first two end running streams and are waited for."""

    KEY_REVOKED = "key_revoked"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_UPDATED = "account_updated"


@dataclass(frozen=True)
class Change:
    """One change. Sequences rise by one, and a lower one was always committed earlier (store/changes.py says how)."""

    sequence: int
    kind: ChangeKind
    account_id: str
    key_id: str = ""
