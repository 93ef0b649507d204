"""Clients that leave at every phase, and clients that stop reading (G4)."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from services.edge.http.polite import UNSENT_MOST
from tests.faults.client import SMALL_BUFFER, Client, Moment, Received, at_token
from tests.faults.conftest import LONG
from tests.faults.load import PLENTY
from tests.faults.reconcile import reconcile
from tests.worlds.cluster import Cluster

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

TOKENS = 200
TIMES = 10 if LONG else 1  # each four at once
AT_ONCE = 4  # choices that the embedded engine generates at once, by default
ENGINE_STOPS = 0.25  # seconds (G4)
BUSY = 2.0  # seconds more, for a machine that runs everything on two cores
# Bytes on the way to a client that does not read: in the edge, in its kernel (the low-water mark, and as much again for
# the write that crosses it), and between the kernels, as far as the client's buffer once had room for it.
ON_THE_WAY = UNSENT_MOST + 2 * UNSENT_MOST + 2 * SMALL_BUFFER
STALL = 2.0  # seconds; without a reader the engine would have generated hundreds of tokens


def runs(database: str, **_: object) -> bool:
    """In the short run on one database only: what is tested here hardly depends on it (conftest.py)."""
    return LONG or database == "sqlite"


def _done(received: Received) -> bool:
    return received.done


PHASES: dict[str, Moment] = {
    "before the first token": at_token(0),
    "at the first token": at_token(1),
    "midway": at_token(TOKENS // 2),
    "at the last token": at_token(TOKENS),
    "on reading [DONE]": _done,
}


@pytest.mark.parametrize("phase", PHASES)
async def test_who_leaves_pays_for_at_most_a_window_more_than_it_received(cluster: Cluster, phase: str) -> None:
    accounts = await cluster.office.accounts(AT_ONCE * TIMES, PLENTY)
    addresses = [cluster.address(edge) for edge in cluster.edges]
    clients = [
        Client(addresses[number % len(addresses)], account, max_tokens=TOKENS, leave=PHASES[phase])
        for number, account in enumerate(accounts)
    ]
    for start in range(0, len(clients), AT_ONCE):
        await asyncio.gather(*(client.run() for client in clients[start : start + AT_ONCE]))
    row = await reconcile(cluster, f"client leaves {phase}", clients, faults=len(clients))
    assert row.stuck < ENGINE_STOPS + BUSY


async def test_who_leaves_while_waiting_for_the_engine_pays_nothing_and_its_hold_returns_at_once(
    cluster: Cluster,
) -> None:
    slots = AT_ONCE * cluster.shape.inferences
    accounts = await cluster.office.accounts(3 * slots + AT_ONCE, PLENTY)
    # Three times as many as there is room for: whichever replica a request goes to, others wait there before it.
    before = [Client(cluster.address("edge-1"), account, max_tokens=500) for account in accounts[: 3 * slots]]
    tasks = [client.start() for client in before]
    await asyncio.gather(*(cluster.office.until_held(client.account, held=True) for client in before))
    waiting = [Client(cluster.address("edge-1"), account, max_tokens=50) for account in accounts[3 * slots :]]
    waits = [client.start() for client in waiting]
    for client in waiting:
        await cluster.office.until_held(client.account, held=True)
    for client in waiting:
        client.leave_now()
    await asyncio.gather(*waits)
    for client in waiting:
        await cluster.office.until_held(client.account, held=False)
    assert sum(not task.done() for task in tasks) > slots, "the engine was free: nobody waited for it"
    for client in waiting:
        assert client.received.tokens == 0
        [charge] = await cluster.office.charges(client.account)
        assert (charge.state, charge.credits) == (charge.STATE_RELEASED, 0)
    await asyncio.gather(*tasks)
    row = await reconcile(cluster, "client leaves the queue", [*before, *waiting], faults=len(waiting))
    assert row.stuck < ENGINE_STOPS + BUSY


@pytest.mark.parametrize("then", ["reads on", "leaves"])
async def test_who_stops_reading_makes_the_engine_wait_and_pays_for_what_was_sent(cluster: Cluster, then: str) -> None:
    [account] = await cluster.office.accounts(1, PLENTY)
    # Many bytes a token, so that the kernel's buffers are full long before the answer is over.
    client = Client(
        cluster.address("edge-1"), account, max_tokens=1500, stall=at_token(20), small_buffers=True, top_logprobs=20
    )
    task = client.start()
    await asyncio.wait_for(client.stalled.wait(), 30)
    deadline = time.monotonic() + STALL
    while time.monotonic() < deadline:
        assert (await cluster.office.money(account))[1], "the answer went on without a reader"
        await asyncio.sleep(0.05)
    if then == "leaves":
        client.leave_now()
    client.read_on()
    received = await task
    if then == "reads on":
        assert received.usage is not None
        assert received.usage[1] == 1500
    a_token = received.bytes / received.tokens
    unsent = math.ceil(ON_THE_WAY / a_token) + 1  # and the one that was cut by leaving
    await reconcile(cluster, f"client stops reading, then {then}", [client], faults=1, unsent=unsent)
