"""The exact sliding window (G5): in any [t, t + 60 s) at most `limit` admissions, refused only when there were `limit`.

Admissions are numbered without gaps. Request number n is admitted when number n - limit is at least 60 s old: one
look-up at any limit, whatever the history.
"""

from __future__ import annotations

from services.quota.domain.outcomes import WindowState
from services.quota.domain.records import Admissions

WINDOW_US = 60_000_000


def wait_us(last_seq: int, admissions: Admissions, limit: int, now_us: int) -> int:
    """Microseconds until the next request will be admitted; 0: now."""
    blocker = last_seq + 1 - limit
    if blocker < 1:
        return 0
    return max(0, admissions.time_of(blocker) + WINDOW_US - now_us)


def admit(last_seq: int, admissions: Admissions, now_us: int) -> int:
    """Takes the next number; returns it."""
    seq = last_seq + 1
    admissions.times_us[seq] = now_us
    if admissions.first_in_window is None:
        admissions.first_in_window = seq
    return seq


def state(last_seq: int, last_us: int, admissions: Admissions, limit: int, now_us: int) -> WindowState:
    """What to tell the client: how many would be admitted now, and when the window is empty if nothing comes."""
    first = admissions.first_in_window
    inside = 0 if first is None else last_seq - first + 1
    reset_us = max(0, last_us + WINDOW_US - now_us) if inside else 0
    return WindowState(limit, max(0, limit - inside), reset_us)
