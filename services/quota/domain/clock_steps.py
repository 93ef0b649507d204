"""Clocks are set: back when they were ahead, forward when they were behind. Neither may cost an account its service.

Leases end by the same clock. When it is set forward, all would be over at once, so nothing is swept until the sessions
that are alive have renewed theirs; when it is set back, those of dead sessions would not end, so they are cut to what
can be right.

Admissions are stamped by the database's clock. Those stamped in the future were made before the clock was set back, so
they count as made when that was seen, and leave the window 60 s later at the latest. What is stamped keeps its stamp:
the account notes up to which number, and at which instant, its admissions are corrected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from servicekit.clock import MICROSECONDS
from services.quota.domain.records import Account, Admissions, Books, Key

MIN_STEP = 2.0  # seconds; less is the ordinary work of whatever keeps the clock right
MAX_LEASE = 300.0  # seconds, of any replica (settings.py)


class ClockSteps:
    """Watches a wall clock beside a monotonic one. Used by one thread or event loop."""

    def __init__(self) -> None:
        self.longest_lease = 0.0  # seconds, of the sessions that were renewed here
        self.set_back_us = 0  # the wall clock's own time when it was last seen to be set back; 0: never
        self.leases_checked = False  # whether those that last too long were cut since the clock was set
        self._stepped_at: float | None = None
        self._offset: float | None = None
        self._newest_us = 0

    def observe(self, now_us: int, monotonic: float) -> bool:
        """Takes both clocks' times; True when the wall clock was set, in either direction, since the last call."""
        offset = now_us / MICROSECONDS - monotonic
        back = now_us < self._newest_us - MIN_STEP * MICROSECONDS
        stepped = back or (self._offset is not None and abs(offset - self._offset) > MIN_STEP)
        if back or (stepped and self._offset is not None and offset < self._offset):
            self.set_back_us = now_us
        if stepped or now_us > self._newest_us:
            self._newest_us = now_us
        self._offset = offset
        if stepped:
            self._stepped_at, self.leases_checked = monotonic, False
        return stepped

    @property
    def longest_right_lease(self) -> float:
        """Seconds that a lease can still last; before a step was seen here, a replica with a longer one counts too."""
        return MAX_LEASE if self._stepped_at is None else self.longest_lease or MAX_LEASE

    def leases_hold(self, monotonic: float) -> bool:
        """Whether every session that is alive has renewed its lease since the clock was set."""
        return self._stepped_at is None or monotonic - self._stepped_at > self.longest_lease


def correct(
    books: Books, account_ids: Iterable[str], key_ids: Mapping[str, str], known: Iterable[Mapping[str, Admissions]] = ()
) -> None:
    """Corrects the accounts and keys of a batch before it is decided; nothing is later than `books.now_us` then.

    `key_ids` are keys with their accounts. `known` are admissions that are remembered, by account or key.
    """
    changed: set[str] = set()
    for name in account_ids:
        account = books.accounts[name]
        if account.last_admitted_us > books.now_us:
            _correct_account(account, books)
            changed.add(name)
    for key_id, account_id in key_ids.items():
        if _follow(books.keys[key_id], books.accounts[account_id]):
            changed.add(key_id)
    for each in known:
        for name in changed & each.keys():
            owner = books.accounts.get(name) or books.keys[name]
            each[name].cap(owner.clock_us)


def _correct_account(account: Account, books: Books) -> None:
    seen = books.set_back_us
    account.clock_us = seen if 0 < seen < books.now_us else books.now_us
    account.clock_seq, account.last_admitted_us, account.dirty = account.last_seq, account.clock_us, True


def _follow(key: Key, account: Account) -> bool:
    """A key's admissions are its account's, too, so the account's clock is the first to show that it was ahead."""
    if key.clock_us == account.clock_us or key.account_id != account.id:  # that request will be refused
        return False
    key.clock_us, key.clock_seq = account.clock_us, key.last_seq
    key.last_admitted_us = min(key.last_admitted_us, account.last_admitted_us)
    key.dirty = key.dirty or key.version >= 0  # a key that was never seen has no row yet
    return True
