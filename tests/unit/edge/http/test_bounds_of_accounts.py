"""The read endpoints' bound, the remembered rate window, and the range of days."""

from __future__ import annotations

from datetime import date

import pytest

from services.edge.endpoints.rate_limit_headers import WindowMemory
from services.edge.endpoints.usage.route import range_of
from services.edge.http.errors import ApiError
from services.edge.http.read_limit import ReadLimit
from services.edge.peers.quota.rate_window import RateWindow
from tests.fakes import FakeClock

TODAY = date(2026, 6, 30)


def test_reads_are_allowed_again_at_the_told_moment() -> None:
    clock = FakeClock()
    limit = ReadLimit(clock, per_minute=60)
    for _ in range(60):
        limit.take("acct_1")
    with pytest.raises(ApiError) as refused:
        limit.take("acct_1")
    assert refused.value.headers["retry-after"] == "1"
    limit.take("acct_2")
    clock.advance(1.0)
    limit.take("acct_1")
    with pytest.raises(ApiError):
        limit.take("acct_1")


def test_the_windows_last_word_grows_older_and_is_forgotten_when_it_is_over() -> None:
    clock = FakeClock()
    memory = WindowMemory(clock)
    assert memory.recall("acct_1", 60) == RateWindow(60, 60, 0.0)
    memory.remember("acct_1", RateWindow(100, 3, 50.0))
    clock.advance(20)
    assert memory.recall("acct_1", 60) == RateWindow(100, 3, 30.0)
    clock.advance(30)
    assert memory.recall("acct_1", 60) == RateWindow(100, 100, 0.0)


@pytest.mark.parametrize(
    ("days", "start", "end", "expected"),
    [
        (None, None, None, (date(2026, 6, 1), TODAY)),
        (1, None, None, (TODAY, TODAY)),
        (365, None, None, (date(2025, 7, 1), TODAY)),
        (None, date(2026, 6, 20), None, (date(2026, 6, 20), TODAY)),
        (None, None, date(2026, 5, 30), (date(2026, 5, 1), date(2026, 5, 30))),
        (None, date(2026, 1, 1), date(2026, 1, 1), (date(2026, 1, 1), date(2026, 1, 1))),
    ],
)
def test_days_are_counted_with_today_included(
    days: int | None, start: date | None, end: date | None, expected: tuple[date, date]
) -> None:
    assert range_of(TODAY, days, start, end) == expected
