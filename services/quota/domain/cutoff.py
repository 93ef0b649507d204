"""How long charges are kept: the current month and a number of whole ones before it. Their sums are kept forever."""

from __future__ import annotations

from dataclasses import dataclass

from common.hold_id import lowest_at
from services.quota.domain.calendar import day_and_month, month_after, start_of_month_us


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
