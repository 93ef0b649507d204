"""What one replica remembers of accounts between batches, in a database that other replicas write to as well.

Every batch that changes anything of an account gives the account a new `revision`. Under the account's lock, what was
remembered at the revision that the locked row has is therefore what the database holds, and needs no reading. Revisions
are drawn at random, not counted: after a failover that lost commits a number could come again, for other contents. A
batch takes what it uses out of here and brings it back once it is committed: one that fails leaves nothing behind.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from services.quota.domain.records import Account, Admissions, Books, Hold, Key, KeyMonth

MAX_ACCOUNTS = 20_000  # the longest unused are forgotten first
MAX_HOLDS = 200_000


@dataclass(slots=True)
class Known:
    """One account's rows as of a revision. A key or month that has no row yet is known as such."""

    revision: int
    keys: dict[str, Key] = field(default_factory=dict)
    months: dict[tuple[str, int], KeyMonth] = field(default_factory=dict)
    holds: dict[bytes, Hold] = field(default_factory=dict)  # open or not confirmed
    admissions: Admissions | None = None  # of the whole window, or none
    key_admissions: dict[str, Admissions] = field(default_factory=dict)


class Memory:
    """Bounded. Used by one event loop; several batches may be under way at once."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, Known] = OrderedDict()
        self._of_hold: OrderedDict[bytes, str] = OrderedDict()

    def __len__(self) -> int:
        """How many accounts are remembered."""
        return len(self._accounts)

    def account_of(self, hold_id: bytes) -> str | None:
        """Whose hold it is, which never changes; None when that is not known here."""
        return self._of_hold.get(hold_id)

    def take(self, account: Account) -> Known | None:
        """What is known of an account whose row is locked; None when another replica has changed it since."""
        known = self._accounts.pop(account.id, None)
        return known if known is not None and known.revision == account.revision else None

    def keep(self, books: Books, taken: dict[str, Known]) -> None:
        """Takes a committed batch in. When a later one was faster, this has an old revision and will not be used."""
        known = {
            name: taken.get(name) or Known(0) for name, each in books.accounts.items() if each.dirty or not each.new
        }
        _merge(books, known)
        for name, each in known.items():
            account = books.accounts[name]
            account.new = account.dirty = False
            each.revision = account.revision
            self._accounts[name] = each
            self._accounts.move_to_end(name)
        self._note_holds(books)
        while len(self._accounts) > MAX_ACCOUNTS:
            self._accounts.popitem(last=False)

    def _note_holds(self, books: Books) -> None:
        for hold in books.holds.values():
            if hold.awaited:
                self._of_hold[hold.id] = hold.account_id
            else:
                self._of_hold.pop(hold.id, None)
        while len(self._of_hold) > MAX_HOLDS:
            self._of_hold.popitem(last=False)


def revise(books: Books, revision: int) -> None:
    """Gives a new revision to every account of which the batch changed anything; called before it is written."""
    changed = {account.id for account in books.accounts.values() if account.dirty}
    changed.update(key.account_id for key in books.keys.values() if key.dirty)
    changed.update(hold.account_id for hold in books.holds.values() if hold.dirty)
    # A month changes without its account only when its ceiling does, and then its key is in the batch.
    changed.update(
        books.keys[month.key_id].account_id
        for month in books.months.values()
        if month.dirty and month.key_id in books.keys
    )
    for name in changed & books.accounts.keys():  # a tombstone has no account
        account = books.accounts[name]
        account.revision, account.dirty = revision, True


def _merge(books: Books, known: dict[str, Known]) -> None:
    """Files the batch's records under their accounts."""
    owners = {key.id: key.account_id for key in books.keys.values()}
    owners |= {hold.key_id: hold.account_id for hold in books.holds.values()}
    for key in books.keys.values():
        if (of_account := known.get(key.account_id)) is not None:
            key.dirty = False
            of_account.keys[key.id] = key
    for name, month in books.months.items():
        if (of_account := known.get(owners[month.key_id])) is not None:
            month.new, month.dirty = month.new and not month.dirty, False
            of_account.months[name] = month
    for hold in books.holds.values():
        if (of_account := known.get(hold.account_id)) is not None:
            _file_hold(of_account, hold)
    for owner, admissions in books.account_admissions.items():
        if owner in known and admissions.known_from:
            known[owner].admissions = admissions
    for key_id, admissions in books.key_admissions.items():
        if (of_account := known.get(owners[key_id])) is not None and admissions.known_from:
            of_account.key_admissions[key_id] = admissions


def _file_hold(known: Known, hold: Hold) -> None:
    hold.new = hold.dirty = False
    if hold.awaited:
        known.holds[hold.id] = hold
    else:
        known.holds.pop(hold.id, None)
