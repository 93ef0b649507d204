"""Where an account stands in its rate window, and whose limit refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Limit(Enum):
    """What can refuse a request (quota.proto, Refused.Limit)."""

    ACCOUNT = "account"
    KEY = "key"
    MONTH = "month"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class RateWindow:
    """Requests admitted in any 60 s, how many more now, seconds until the window is empty."""

    limit: int
    remaining: int
    reset_after: float
