"""The pulse notices what another replica has written."""

from __future__ import annotations

import asyncio

from servicekit.clock import SystemClock
from servicekit.database.database import open_database
from services.auth.domain.account import Account, AccountState
from services.auth.domain.bell import Bell
from services.auth.migrate import MIGRATIONS
from services.auth.running.pulse import Pulse
from services.auth.store.accounts import AccountTable
from services.auth.store.changes import ChangeTable


async def test_it_beats_for_who_comes_in_the_moment_that_the_last_one_leaves(database_url: str) -> None:
    async with open_database(database_url, migrations=MIGRATIONS) as database:
        bell, accounts = Bell(), AccountTable(database)
        pulse = Pulse(ChangeTable(database, SystemClock()), bell, 0.01)
        account = Account("acct_1", "ada@example.com", AccountState.ACTIVE, 1, None, 0)
        await accounts.create(account)
        async with pulse.beating():
            await asyncio.wait_for(bell.listen().wait(), 10)  # the first look
        async with pulse.beating():
            await asyncio.wait_for(bell.listen().wait(), 10)
            ring = bell.listen()
            await accounts.set_limits(account.account_id, 5, 0)  # this store rings no bell, as another replica's
            await asyncio.wait_for(ring.wait(), 10)
