"""UTC days and months of instants."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from servicekit.clock import to_datetime, to_microseconds

DAY_US = 86_400_000_000


@lru_cache(maxsize=64)
def _of_day(number: int) -> tuple[str, int]:
    day = to_datetime(number * DAY_US)
    return day.strftime("%Y-%m-%d"), day.year * 100 + day.month


def day_and_month(instant_us: int) -> tuple[str, int]:
    """("YYYY-MM-DD", year * 100 + month) of an instant in microseconds since the epoch, in UTC."""
    return _of_day(instant_us // DAY_US)


def month_after(month: int, count: int) -> int:
    """The month (year * 100 + month) that many months later; earlier when negative."""
    index = month // 100 * 12 + month % 100 - 1 + count
    return index // 12 * 100 + index % 12 + 1


def start_of_month_us(month: int) -> int:
    """The first instant of a month (year * 100 + month), in UTC, in microseconds since the epoch."""
    return to_microseconds(datetime(month // 100, month % 100, 1, tzinfo=UTC))
