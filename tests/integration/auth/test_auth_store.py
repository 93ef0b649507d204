"""Auth's store, the same suite on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import event

from common import key_format
from servicekit.clock import SystemClock
from servicekit.database.database import Database, open_database
from services.auth.domain.account import Account, AccountState
from services.auth.domain.change import ChangeKind
from services.auth.domain.errors import AccountUnknown, EmailTaken, HelloExpected, KeyNotFound, TooManyKeys
from services.auth.domain.key import KeyTerms, NewKey, mint
from services.auth.domain.page import Cursor
from services.auth.domain.sessions import SessionPolicy
from services.auth.domain.store import Known
from services.auth.migrate import MIGRATIONS
from services.auth.running.late_sessions import SharedLook
from services.auth.store.accounts import AccountTable
from services.auth.store.changes import ChangeTable
from services.auth.store.keys import KeyTable

NOW = 1_750_000_000_000_000
TTL = 60.0


@dataclass
class Store:
    """All of auth's tables."""

    database: Database

    def __post_init__(self) -> None:
        self.accounts = AccountTable(self.database)
        self.keys = KeyTable(self.database)
        self.changes = ChangeTable(self.database, SystemClock())

    async def account(self, name: str = "ada") -> Account:
        account = Account(f"acct_{name}", f"{name}@example.com", AccountState.ACTIVE, 1, None, NOW)
        await self.accounts.create(account)
        return account

    async def key(self, account: Account, terms: KeyTerms | None = None, now_us: int = NOW) -> NewKey:
        new = mint(account.account_id, terms or KeyTerms(), random_bytes=secrets.token_bytes, now_us=now_us)
        await self.keys.create(new, 10)
        return new


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_database(database_url, migrations=MIGRATIONS) as database:
        yield Store(database)


async def test_everything_of_a_key_survives_the_database(store: Store) -> None:
    account = await store.account()
    new = await store.key(account, KeyTerms("läptop", 2**62, ("muh-chat", "gpt-4o"), NOW + 1, 5))
    found = await store.keys.find(new.digest)
    assert found is not None
    assert (found.key, found.account, found.sequence) == (new.key, account, 0)
    assert await store.keys.find(key_format.digest("another")) is None


async def test_twenty_keys_made_at_once_are_exactly_ten(store: Store) -> None:
    account = await store.account()
    made = await asyncio.gather(*(store.key(account) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(key, NewKey) for key in made) == 10
    assert sum(isinstance(key, TooManyKeys) for key in made) == 10
    assert len(await store.keys.page(account.account_id, None, 100)) == 10


async def test_keys_that_no_longer_work_leave_room_for_others(store: Store) -> None:
    account = await store.account()
    expiring = [await store.key(account, KeyTerms(expires_us=NOW + 1)) for _ in range(5)]
    lasting = [await store.key(account) for _ in range(5)]
    with pytest.raises(TooManyKeys):
        await store.key(account)
    for _ in expiring:
        await store.key(account, now_us=NOW + 1)
    with pytest.raises(TooManyKeys):
        await store.key(account, now_us=NOW + 1)
    await store.keys.revoke(lasting[0].key.key_id, NOW)
    await store.key(account, now_us=NOW + 1)


async def test_one_email_makes_one_account_at_once(store: Store) -> None:
    accounts = [Account(f"acct_{i}", "ada@example.com", AccountState.ACTIVE, 1, None, NOW) for i in range(8)]
    made = await asyncio.gather(*(store.accounts.create(account) for account in accounts), return_exceptions=True)
    assert made.count(None) == 1
    assert all(isinstance(outcome, EmailTaken) for outcome in made if outcome is not None)


async def test_unknown_ids_are_unknown_and_not_errors_of_the_database(store: Store) -> None:
    for name in ("", "nobody", "nul\0", "x" * 10_000):
        with pytest.raises(AccountUnknown):
            await store.accounts.by_id(name)
        with pytest.raises(KeyNotFound):
            await store.keys.revoke(name, NOW)
    with pytest.raises(AccountUnknown):
        await store.accounts.by_email("nobody@example.com")
    assert await store.changes.last_sequence() == 0


async def test_each_change_raises_the_version_and_the_sequence_and_a_repeat_neither(store: Store) -> None:
    account = await store.account()
    key = await store.key(account)
    for _ in range(2):
        assert (await store.accounts.set_limits(account.account_id, 5, NOW)).version == 2
    for _ in range(2):
        suspended, sequence = await store.accounts.set_state(account.account_id, AccountState.SUSPENDED, NOW)
        assert (suspended.version, sequence) == (3, 2)
    resumed, sequence = await store.accounts.set_state(account.account_id, AccountState.ACTIVE, NOW)
    assert (resumed.version, resumed.requests_per_minute, sequence) == (4, 5, 3)
    for moment in (NOW + 7, NOW + 8):
        revoked, sequence = await store.keys.revoke(key.key.key_id, moment)
        assert (revoked.version, revoked.revoked_us, sequence) == (2, NOW + 7, 4)
    kinds = [change.kind for change in await store.changes.after(0, 100)]
    assert kinds == [
        ChangeKind.ACCOUNT_UPDATED,
        ChangeKind.ACCOUNT_SUSPENDED,
        ChangeKind.ACCOUNT_UPDATED,
        ChangeKind.KEY_REVOKED,
    ]
    assert [change.sequence for change in await store.changes.after(1, 2)] == [2, 3]


async def test_a_key_is_never_older_than_the_sequence_that_it_comes_with(store: Store) -> None:
    account = await store.account()
    for _ in range(5):
        new = await store.key(account)
        revoking = asyncio.create_task(store.keys.revoke(new.key.key_id, NOW))
        before = -1
        while not revoking.done():
            found = await store.keys.find(new.digest)
            assert found is not None
            if found.key.revoked_us is None:
                before = found.sequence
        assert before < (await revoking)[1]


async def test_sequences_become_visible_in_order_and_without_gaps_under_concurrent_changes(store: Store) -> None:
    accounts = [await store.account(f"user{number}") for number in range(12)]
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < len(accounts):
            seen.extend([change.sequence for change in await store.changes.after(seen[-1] if seen else 0, 100)])

    suspensions = [store.accounts.set_state(a.account_id, AccountState.SUSPENDED, NOW) for a in accounts]
    async with asyncio.timeout(20):
        outcomes, _ = await asyncio.gather(asyncio.gather(*suspensions), follow())
    assert seen == list(range(1, len(accounts) + 1))
    assert sorted(sequence for _, sequence in outcomes) == seen


async def test_pages_go_through_rows_of_the_same_instant(store: Store) -> None:
    account = await store.account()
    made = {(await store.key(account, now_us=NOW + number // 2)).key.key_id for number in range(6)}
    listed, cursor = [], None
    while rows := await store.keys.page("", cursor, 2):
        listed += [(key.created_us, key.key_id) for key in rows]
        cursor = Cursor(*listed[-1])
    assert {key_id for _, key_id in listed} == made
    assert listed == sorted(listed, reverse=True)
    others = [await store.account(name) for name in ("b", "a")]
    first = (await store.accounts.page(None, 2))[-1]
    rest = await store.accounts.page(Cursor(first.created_us, first.account_id), 2)
    assert [first.account_id, *(row.account_id for row in rest)] == ["acct_ada", "acct_b"]
    assert others[1].account_id == (await store.accounts.page(None, 1))[0].account_id


async def test_a_session_confirms_by_acknowledging_by_leaving_or_by_silence(store: Store) -> None:
    changes = store.changes
    for name in ("acks", "leaves", "silent"):
        assert await changes.open_session(name, "an edge", None, TTL) == 0
    account = await store.account()
    _, sequence = await store.accounts.set_state(account.account_id, AccountState.SUSPENDED, NOW)
    assert (await changes.late_sessions(sequence, TTL)).alive.keys() == {"acks", "leaves", "silent"}
    assert await changes.touch_sessions({"acks": sequence, "leaves": 0}, TTL) == {"acks", "leaves"}
    await changes.close_session("leaves")
    assert (await changes.late_sessions(sequence, TTL)).alive.keys() == {"silent"}
    gone = await changes.late_sessions(sequence, -1.0)  # as if the ttl had passed
    assert (gone.alive, gone.lapsed.keys()) == ({}, {"silent"})


async def test_a_lapsed_session_stays_lapsed_and_an_acknowledgement_never_goes_back(store: Store) -> None:
    changes = store.changes
    await changes.open_session("edge", "an edge", None, TTL)
    await changes.touch_sessions({"edge": 5}, TTL)
    await changes.touch_sessions({"edge": 3}, TTL)
    assert not (await changes.late_sessions(5, TTL)).alive
    assert await changes.touch_sessions({"edge": 5}, -1.0) == frozenset()
    assert (await changes.late_sessions(6, -1.0)).lapsed.keys() == {"edge"}
    assert await changes.touch_sessions({"edge": 6, "nobody": 1}, TTL) == frozenset()


async def test_a_new_session_starts_behind_the_last_change_and_its_id_serves_once(store: Store) -> None:
    account = await store.account()
    _, sequence = await store.accounts.set_state(account.account_id, AccountState.SUSPENDED, NOW)
    assert await store.changes.open_session("edge", "an edge", None, TTL) == sequence
    assert not (await store.changes.late_sessions(sequence, TTL)).alive
    with pytest.raises(HelloExpected):
        await store.changes.open_session("edge", "an edge", None, TTL)


async def test_a_session_either_is_waited_for_or_starts_behind_the_change(store: Store) -> None:
    accounts = [await store.account(f"user{number}") for number in range(8)]

    async def suspend(account: Account) -> tuple[int, frozenset[str]]:
        _, sequence = await store.accounts.set_state(account.account_id, AccountState.SUSPENDED, NOW)
        return sequence, frozenset((await store.changes.late_sessions(sequence, TTL)).alive)

    names = [f"edge{number}" for number in range(8)]
    opening = asyncio.gather(*(store.changes.open_session(name, "an edge", None, TTL) for name in names))
    waits, starts = await asyncio.gather(asyncio.gather(*map(suspend, accounts)), opening)
    for sequence, alive in waits:
        for name, start in zip(names, starts, strict=True):
            assert (start >= sequence) != (name in alive)


async def test_many_digests_asked_for_at_once_cost_a_few_statements_and_each_has_its_answer(store: Store) -> None:
    account = await store.account()
    key = await store.key(account)
    statements = record_statements(store)
    unknown = [number.to_bytes(32) for number in range(300)]
    found = await asyncio.gather(*map(store.keys.find, [*unknown, key.digest, key.digest]))
    assert found[:300] == [None] * 300
    assert [each.key.key_id for each in found[300:] if each] == [key.key.key_id] * 2
    assert len([each for each in statements if "api_keys" in each]) <= 3


async def test_a_session_resumes_a_living_one_and_is_as_silent_as_that_until_it_is_heard(store: Store) -> None:
    account, changes = await store.account(), store.changes
    await changes.open_session("first", "an edge", None, TTL)
    _, sequence = await store.accounts.set_state(account.account_id, AccountState.SUSPENDED, NOW)
    assert await changes.open_session("second", "an edge", Known(0, "first"), TTL) == 0
    assert (await changes.late_sessions(sequence, TTL)).alive.keys() == {"first", "second"}
    assert await changes.open_session("of nobody", "an edge", Known(0, "unheard-of"), TTL) == sequence
    assert await changes.open_session("of the future", "an edge", Known(sequence + 1, "first"), TTL) == sequence
    assert await changes.touch_sessions({"second": sequence}, TTL) == {"second"}
    assert (await changes.late_sessions(sequence, TTL)).alive.keys() == {"first"}
    assert (await changes.late_sessions(sequence, -1.0)).lapsed.keys() == {"first"}  # as if the ttl had passed
    assert await changes.open_session("too late", "an edge", Known(0, "first"), TTL) == sequence


async def test_heartbeats_of_a_hundred_sessions_are_one_update(store: Store) -> None:
    names = [f"edge{number}" for number in range(100)]
    for name in names:
        await store.changes.open_session(name, "an edge", None, TTL)
    await store.changes.touch_sessions({names[0]: 0}, TTL)  # after the first look at the clock
    statements = record_statements(store)
    assert await store.changes.touch_sessions(dict.fromkeys(names, 3), TTL) == frozenset(names)
    assert len([each for each in statements if "edge_sessions" in each]) == 1
    late = await store.changes.late_sessions(4, TTL)
    assert late.alive == dict.fromkeys(names, 3)
    assert not late.before(3).alive


async def test_many_waits_for_acknowledgements_share_their_looks(store: Store) -> None:
    await store.changes.open_session("edge", "an edge", None, TTL)
    await store.changes.late_sessions(1, TTL)  # after the first look at the clock
    look = SharedLook(store.changes, SessionPolicy(TTL))
    statements = record_statements(store)
    late = await asyncio.gather(*(look.late(sequence) for sequence in range(100)))
    assert [bool(each.alive) for each in late] == [False] + [True] * 99
    assert len([each for each in statements if "UPDATE edge_sessions" in each]) <= 2


async def test_a_new_key_counts_those_that_are_not_revoked_by_an_index_of_these_alone(sqlite_url: str) -> None:
    async with open_database(sqlite_url, migrations=MIGRATIONS) as database, database.read() as session:
        connection = await session.connection()
        counted = "SELECT count(*) FROM api_keys WHERE account_id = 'a' AND revoked_us IS NULL AND expires_us IS NULL"
        plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {counted}")).all()
    assert "USING INDEX api_keys_not_revoked" in str(plan)


def record_statements(store: Store) -> list[str]:
    """Every statement from now on."""
    statements: list[str] = []
    event.listen(
        store.database.engine.sync_engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    return statements
