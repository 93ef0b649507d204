"""Loading what one batch needs from PostgreSQL, and from memory where that is known to be what the database holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from common.hold_id import lowest_at
from servicekit.clock import SystemClock
from services.quota.domain.calendar import DAY_US, day_and_month
from services.quota.domain.clock_steps import ClockSteps, correct
from services.quota.domain.hold_ids import LOOK_AROUND_US
from services.quota.domain.rate_window import WINDOW_US
from services.quota.domain.records import Account, Admissions, Books, EntryKind, Key, KeyMonth, LedgerEntry
from services.quota.store.batch import columns
from services.quota.store.batch.needs import Needs, complete_months
from services.quota.store.postgres import statements
from services.quota.store.postgres.replica_memory import Known, Memory

ACCOUNT_WIDTH, KEY_WIDTH, HOLD_WIDTH = len(columns.ACCOUNT), 1 + len(columns.KEY), len(columns.CHARGE)
LOOK_AHEAD_US = LOOK_AROUND_US + WINDOW_US
MAX_RECALLED = 256  # admissions of a window that are read to be remembered; of a longer one only what decides


class Loading:
    """One batch, within its transaction. `taken` is what memory gave; it goes back with the committed batch."""

    def __init__(
        self,
        connection: Any,
        memory: Memory,
        needs: Needs,
        steps: ClockSteps,
        *,
        fake_now: int | None,
        monotonic: Callable[[], float],
        alone: bool,
    ) -> None:
        """`alone`: the batch is one operation, so that nothing is taken for granted."""
        self._connection = connection
        self._steps = steps
        self._monotonic = monotonic
        self._now_monotonic = 0.0
        self._memory = memory
        self._needs = needs
        self._fake_now = fake_now
        self._since_month = _likely_month()
        self._read_keys: set[str] = set()
        # A reservation's id is new but for replays. In a batch that is taken for granted: when it is not so, the
        # primary key refuses the batch, and its operations come again one by one, each looked up.
        self._owners = {
            hold_id: owner
            for hold_id in needs.hold_ids
            if (owner := memory.account_of(hold_id)) or alone or hold_id not in needs.reserved_ids
        }
        self.books = Books(0)
        self.taken: dict[str, Known] = {}

    async def run(self) -> Books:
        """Locks the accounts, then reads what is not known."""
        await self._lock()
        await self._load_keys()
        await self._load_holds()
        await self._load_entries()
        self._needs.complete(self.books)
        self._correct_clock()
        await self._load_months()
        if self._needs.reserves:
            await self._load_admissions()
        return self.books

    async def _lock(self) -> None:
        books, names = self.books, self._needs.account_ids | {each for each in self._owners.values() if each}
        strangers = [hold_id for hold_id, owner in self._owners.items() if owner is None]
        if strangers:
            bounds = statements.bounds(strangers)
            rows = await self._connection.fetch(statements.LOCK_OWNERS, list(names), strangers, *bounds)
        else:
            rows = await self._connection.fetch(statements.LOCK_ACCOUNTS, list(names))
        for row in rows:
            account = Account(*row[:ACCOUNT_WIDTH])
            books.accounts[account.id] = account
            if (known := self._memory.take(account)) is not None:
                self.taken[account.id] = known
        self._now_monotonic = self._monotonic()
        books.now_us = self._fake_now or max((row[ACCOUNT_WIDTH] for row in rows), default=0)

    async def _load_keys(self) -> None:
        books, missing = self.books, []
        for key_id, account_id in self._needs.keys.items():
            known = self.taken.get(account_id)
            if known is not None and (key := known.keys.get(key_id)) is not None:
                books.keys[key_id] = key
            else:
                missing.append(key_id)
        if not missing and books.now_us:
            return
        self._read_keys.update(missing)
        rows = await self._connection.fetch(statements.LOAD_KEYS, missing, self._since_month)
        if not books.now_us:
            books.now_us, self._now_monotonic = rows[0][0], self._monotonic()
        for row in rows:
            if row[1] is not None:
                books.keys[row[1]] = Key(*row[1:KEY_WIDTH])
                self._add_month(row[KEY_WIDTH:])

    async def _load_holds(self) -> None:
        books, missing = self.books, []
        for hold_id, owner in self._owners.items():
            known = self.taken.get(owner) if owner else None
            if known is not None and (hold := known.holds.get(hold_id)) is not None:
                books.holds[hold_id] = hold
            else:
                missing.append(hold_id)
        if missing:
            for row in await self._connection.fetch(statements.LOAD_HOLDS, missing, *statements.bounds(missing)):
                books.holds[row[0]] = columns.hold_of(row[:HOLD_WIDTH])
                self._add_month(row[HOLD_WIDTH:])

    async def _load_entries(self) -> None:
        if self._needs.references:
            arrays = zip(*self._needs.references, strict=True)
            for row in await self._connection.fetch(statements.LOAD_ENTRIES, *arrays):
                entry = LedgerEntry(row[0], EntryKind(row[1]), *row[2:])
                self.books.entries[(entry.kind, entry.reference)] = entry

    async def _load_months(self) -> None:
        """Months came along with the keys and holds that were read; of the others one may be new, or very old."""
        books, needs = self.books, self._needs
        pairs = needs.months(books)
        owners = needs.keys | {hold.key_id: hold.account_id for hold in books.holds.values()}
        unread = []
        for pair in pairs - books.months.keys():
            known = self.taken.get(owners[pair[0]])
            if known is not None and (month := known.months.get(pair)) is not None:
                books.months[pair] = month
            elif pair[0] not in self._read_keys or pair[1] < self._since_month:
                unread.append(pair)
        if unread:
            for row in await self._connection.fetch(statements.LOAD_MONTHS, *zip(*unread, strict=True)):
                self._add_month(row)
        complete_months(books, pairs)

    def _correct_clock(self) -> None:
        books, needs = self.books, self._needs
        self._steps.observe(books.now_us, self._now_monotonic)
        books.set_back_us = self._steps.set_back_us
        accounts = {name: each.admissions for name, each in self.taken.items() if each.admissions}
        correct(books, needs.reserves, needs.keys, [accounts, *(each.key_admissions for each in self.taken.values())])

    async def _load_admissions(self) -> None:
        books, needs, since = self.books, self._needs, self.books.now_us - WINDOW_US
        accounts = {name: each.admissions for name, each in self.taken.items()}
        keys = {name: each for known in self.taken.values() for name, each in known.key_admissions.items()}
        of_accounts = Windows(books.accounts, needs.account_limits, needs.account_limits, accounts, since)
        await of_accounts.load(self._connection, statements.LOAD_FIRST, statements.LOAD_TIMES, needs.reserves)
        books.account_admissions = of_accounts.found
        reserves = {name: needs.reserves[account_id] for name, account_id in needs.keys.items()}
        limited = [name for name in needs.keys if name in needs.key_limits or books.keys[name].requests_per_minute]
        of_keys = Windows(books.keys, limited, needs.key_limits, keys, since)
        await of_keys.load(self._connection, statements.LOAD_KEY_FIRST, statements.LOAD_KEY_TIMES, reserves)
        books.key_admissions = of_keys.found

    def _add_month(self, row: Sequence[Any]) -> None:
        if row[0] is not None:
            self.books.months[(row[0], row[1])] = KeyMonth(*row)


class Windows:
    """Earlier admissions of accounts or keys: the whole window when it is short, else what a decision can ask for."""

    def __init__(
        self,
        owners: dict[str, Account] | dict[str, Key],
        names: Iterable[str],
        limits: dict[str, set[int]],
        known: dict[str, Admissions | None] | dict[str, Admissions],
        since: int,
    ) -> None:
        """`limits` are those that the batch brings, by owner; `known` whole windows; `since` in microseconds."""
        self.found: dict[str, Admissions] = {}
        self._limits: dict[str, set[int]] = {}
        self._least: dict[str, int] = {}  # numbers below have left the window; absent: 1
        self._owners = owners
        self._since = since
        for name in names:
            owner, whole = owners[name], known.get(name)
            if whole is not None:
                whole.forget_before(since, owner.last_seq)
                self.found[name] = whole
            elif owner.last_admitted_us <= since:
                self.found[name] = Admissions(known_from=owner.last_seq + 1)
            else:
                own = {owner.requests_per_minute} if owner.requests_per_minute else set()
                self._limits[name] = limits.get(name, set()) | own
                self.found[name] = Admissions()
                if 0 < owner.clock_us <= since:  # those before the clock was corrected have left the window
                    self._least[name] = owner.clock_seq + 1

    async def load(self, connection: Any, first: str, times: str, reserves: dict[str, int]) -> None:
        """Reads what is not known; `reserves` counts the batch's reservations by owner."""
        if not self._limits:
            return
        lows = {name: self._low(name, max(each, default=1)) for name, each in self._limits.items()}
        asked = [(name, low, self._owners[name].last_seq) for name, low in lows.items()]
        for name, seq in await connection.fetch(first, *zip(*asked, strict=True), self._since):
            self._begin(name, seq, lows[name])
        ranges = [each for name in self._limits for each in self._ranges(name, reserves[name])]
        if ranges:
            around = lowest_at(self._since - LOOK_AROUND_US), lowest_at(self._since + LOOK_AHEAD_US)
            for name, seq, instant in await connection.fetch(times, *zip(*ranges, strict=True), *around):
                owner = self._owners[name]
                corrected = min(instant, owner.clock_us) if seq <= owner.clock_seq else instant
                self.found[name].times_us[seq] = corrected

    def _low(self, name: str, limit: int) -> int:
        """The lowest number that a decision by this limit, or any lower one, can ask for."""
        return max(self._least.get(name, 1), self._owners[name].last_seq + 1 - limit)

    def _begin(self, name: str, seq: int, low: int) -> None:
        """`seq` is the window's first, or an earlier one was not looked for: then the window is not known whole."""
        admissions = self.found[name]
        admissions.first_in_window = seq
        if (seq > low or low == self._least.get(name, 1)) and self._owners[name].last_seq - seq < MAX_RECALLED:
            admissions.known_from = seq

    def _ranges(self, name: str, reserves: int) -> Iterable[tuple[str, int, int]]:
        last_seq, first = self._owners[name].last_seq, self.found[name].known_from
        if first:
            yield name, first, last_seq
            return
        for limit in self._limits[name]:
            low, high = self._low(name, limit), min(last_seq, last_seq + reserves - limit)
            if high >= low:
                yield name, low, high


def _likely_month() -> int:
    """Yesterday's month by this machine's clock: the database's own clock decides, and can hardly be further behind."""
    return day_and_month(SystemClock().now_us() - DAY_US)[1]
