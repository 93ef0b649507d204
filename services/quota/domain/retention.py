"""How long charges are kept: the current month and so many whole ones before it. Their sums are kept for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger
from services.quota.domain.calendar import day_and_month, month_after, start_of_month_us
from services.quota.domain.hold_ids import lowest_at
from services.quota.domain.store import Store

log = get_logger(__name__)

AFTER_OUTAGE = 60.0  # seconds


@dataclass(frozen=True)
class Cutoff:
    """What is kept at an instant. Charges are dropped when both their id and their admission are older."""

    month: int  # the first that is kept, year * 100 + month
    instant_us: int  # its beginning
    hold_id: bytes  # no id made in it or later is below

    @classmethod
    def at(cls, now_us: int, months: int) -> Cutoff:
        """The current UTC month and `months` whole ones before it are kept."""
        month = month_after(day_and_month(now_us)[1], -months)
        instant = start_of_month_us(month)
        return cls(month, instant, lowest_at(instant))


async def run_retention(store: Store, months: int | None) -> None:
    """Keeps house until cancelled, as often as the store asks for; an outage of the database is waited out."""
    while True:
        try:
            pause = await store.tidy(months)
        except DatabaseUnavailable:
            pause = AFTER_OUTAGE
        except Exception as error:
            # Nothing of it is needed to serve: what is wrong is told, and tried again.
            log.exception("housekeeping_failed", error=type(error).__name__)
            pause = AFTER_OUTAGE
        await asyncio.sleep(pause)
