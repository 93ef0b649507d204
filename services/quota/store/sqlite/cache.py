"""Records that stay in memory between batches, for a store that is its database's only writer.

A record in here is what the database holds after the last commit. When a transaction fails, nothing in here can be
trusted any more: drop it all.
"""

from __future__ import annotations

from services.quota.domain.records import Account, Admissions, Books, Hold, Key, KeyMonth

MAX_RECORDS = 200_000  # of each kind; more empty the cache, which costs a read each and nothing else


class Cache:
    """Accounts, keys, months, windows, and the holds that are open or whose charge is not confirmed."""

    def __init__(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Forgets everything."""
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, Key] = {}
        self.months: dict[tuple[str, int], KeyMonth] = {}
        self.holds: dict[bytes, Hold] = {}
        self.account_admissions: dict[str, Admissions] = {}
        self.key_admissions: dict[str, Admissions] = {}

    def keep(self, books: Books) -> None:
        """Takes what a committed batch has written or read."""
        for account_id, account in books.accounts.items():
            if account.dirty or not account.new:
                account.new = account.dirty = False
                self.accounts[account_id] = account
        for key_id, key in books.keys.items():
            if key.version >= 0:  # one that was never seen has no row
                key.dirty = False
                self.keys[key_id] = key
        for name, month in books.months.items():
            if month.dirty or not month.new:
                month.new = month.dirty = False
                self.months[name] = month
        for hold_id, hold in books.holds.items():
            hold.new = hold.dirty = False
            if hold.awaited:
                self.holds[hold_id] = hold
            else:
                self.holds.pop(hold_id, None)
        self.account_admissions.update(books.account_admissions)
        self.key_admissions.update(books.key_admissions)
        if max(len(self.accounts), len(self.holds), len(self.months)) > MAX_RECORDS:
            self.drop()
