"""What is decided of a reservation before its account's lock: versions that were agreed on, and accounts that lose too
much for the operator (losses_per_day_limit)."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from servicekit.clock import Clock
from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger
from services.quota import metrics
from services.quota.domain.calendar import DAY_US, day_and_month
from services.quota.domain.reports import Reports
from services.quota.domain.versions import Presented

log = get_logger(__name__)

INTERVAL = 5.0  # seconds between two looks at the loss book


class Verdict(NamedTuple):
    """As in Reserve: whether these versions were agreed on, and microseconds until the account is admitted again."""

    account_agreed: bool
    key_agreed: bool
    barred_us: int | None


class Guard:
    """One for all sessions of a replica. Needs no database on the way of a request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts = Presented()
        self._keys = Presented()
        self._barred: frozenset[str] = frozenset()
        self._day = ""  # that they are barred for

    def judge(self, account_id: str, account_version: int, key_id: str, key_version: int) -> Verdict:
        """What is known here of a reservation's account and key."""
        now = self._clock.monotonic()
        account = self._accounts.agreed(account_id, account_version, now)
        key = self._keys.agreed(key_id, key_version, now)
        return Verdict(account, key, self._rest_of_day_us() if account_id in self._barred else None)

    def bar(self, day: str, accounts: frozenset[str]) -> None:
        """Refuses these accounts until the UTC day is over, or the next call."""
        if day == self._day:
            for account_id in accounts - self._barred:
                log.warning("account_barred", account_id=account_id, day=day)
        self._day, self._barred = day, accounts

    def _rest_of_day_us(self) -> int | None:
        now_us = self._clock.now_us()
        return DAY_US - now_us % DAY_US if day_and_month(now_us)[0] == self._day else None


async def watch_losses(reports: Reports, guard: Guard, clock: Clock, limit: int) -> None:
    """Bars accounts whose losses of the day are above `limit` credits, until cancelled; an outage is waited out."""
    while True:
        try:
            await look_at_losses(reports, guard, clock, limit)
        except DatabaseUnavailable:
            log.warning("losses_not_seen")
        except Exception:
            log.exception("losses_watch_failed")
        await asyncio.sleep(INTERVAL)


async def look_at_losses(reports: Reports, guard: Guard, clock: Clock, limit: int) -> None:
    """One look. Raises DatabaseUnavailable."""
    day = day_and_month(clock.now_us())[0]
    accounts = frozenset(await reports.losing(day, limit))
    guard.bar(day, accounts)
    metrics.BARRED.set(len(accounts))
