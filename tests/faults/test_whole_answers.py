"""kill -9 of an edge while whole answers are charged and written: none is paid and not seen (G3)."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.client import Client
from tests.faults.conftest import LONG
from tests.faults.load import PLENTY
from tests.faults.reconcile import reconcile
from tests.worlds.cluster import Cluster

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

KILLS = 8 if LONG else 1
AT_ONCE = 12  # whole answers under way at each kill
TOKENS = 40


def runs(database: str) -> bool:
    """On one replica's SQLite in the short run."""
    return LONG or database == "sqlite"


async def test_a_whole_answer_whose_edge_is_killed_is_paid_only_if_it_was_read(cluster: Cluster) -> None:
    clients: list[Client] = []
    for _ in range(KILLS):
        accounts = await cluster.office.accounts(AT_ONCE, PLENTY)
        address = cluster.address("edge-1")
        batch = [Client(address, each, max_tokens=TOKENS, stream=False) for each in accounts]
        tasks = [client.start() for client in batch]
        # The first has its answer: the others are being generated, charged or written.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        cluster.kill("edge-1")
        await asyncio.gather(*tasks)
        clients += batch
        await cluster.restart("edge-1")
        await cluster.healed()
    await reconcile(cluster, "kill -9 of an edge that writes whole answers", clients, faults=KILLS)
