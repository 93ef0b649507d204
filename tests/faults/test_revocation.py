"""Revoking a key while it is used on two edges with several workers each (G6)."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.faults.client import Client, at_token
from tests.faults.conftest import LONG
from tests.faults.load import PLENTY
from tests.faults.report import REPORT, Row
from tests.worlds.cluster import Cluster
from tests.worlds.parts.office import Account

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

ONE_SECOND = 1.0  # G6
BUSY = 1.0  # seconds of room on a machine that runs everything on two cores
ROUNDS = 10 if LONG else 1
STREAMS = 4  # as many as the engine generates at once
SEATS = 12  # ask for short answers all the time


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_a_revoked_key_ends_its_streams_and_is_served_nowhere_once_the_call_returns(
    cluster: Cluster, round_: int
) -> None:
    await cluster.office.outwait()
    [account] = await cluster.office.accounts(1, PLENTY)
    addresses = [cluster.address(edge) for edge in cluster.edges]
    streams = [Client(addresses[n % len(addresses)], account, max_tokens=1900) for n in range(STREAMS)]
    tasks = [client.start() for client in streams]
    await asyncio.gather(*(client.reached(at_token(1)) for client in streams))
    returned = asyncio.Event()
    hammers = [
        asyncio.create_task(_hammer(addresses[seat % len(addresses)], account, returned)) for seat in range(SEATS)
    ]
    seconds, timed_out = await cluster.office.revoke(account)
    returned_at = time.time()
    returned.set()
    assert seconds < ONE_SECOND + BUSY
    assert timed_out == 0
    later = [client for hammer in await asyncio.gather(*hammers) for client in hammer]
    await asyncio.gather(*tasks)
    for client in streams:
        assert client.received.code == "key_revoked", client.received
        assert client.received.ended_at < returned_at + BUSY
    served = [client for client in later if client.received.status == 200]
    assert served == []
    refusals = {(client.received.status, client.received.code) for client in later}
    # All of them come from one address, which has its budget of wrong keys.
    assert (401, "invalid_api_key") in refusals
    assert refusals <= {(401, "invalid_api_key"), (429, "refused_too_often")}
    await _books(cluster, account, len(streams) + len(later))


async def _hammer(address: str, account: Account, returned: asyncio.Event) -> list[Client]:
    """Asks until the revocation has returned and then some; gives what was asked after that."""
    later: list[Client] = []
    while len(later) < 3:
        after = returned.is_set()
        client = Client(address, account, max_tokens=1)
        await client.run()
        if after:
            later.append(client)
    return later


async def _books(cluster: Cluster, account: Account, requests: int) -> None:
    deadline = time.monotonic() + 30
    while (await cluster.office.money(account))[1]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert (await cluster.office.books()).balanced
    REPORT.add("key revoked under load", cluster.shape.database, Row(faults=1, requests=requests))
