"""UTC days and months of instants."""

from __future__ import annotations

from functools import lru_cache

from servicekit.clock import to_datetime

DAY_US = 86_400_000_000


@lru_cache(maxsize=64)
def _of_day(number: int) -> tuple[str, int]:
    day = to_datetime(number * DAY_US)
    return day.strftime("%Y-%m-%d"), day.year * 100 + day.month


def day_and_month(instant_us: int) -> tuple[str, int]:
    """("YYYY-MM-DD", year * 100 + month) of an instant in microseconds since the epoch, in UTC."""
    return _of_day(instant_us // DAY_US)
