"""An inference service whose connections stay open while it says nothing: a machine that froze, a cut cable."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.faults.client import Client, at_token
from tests.faults.conftest import LONG
from tests.faults.load import PLENTY
from tests.faults.reconcile import reconcile
from tests.worlds.cluster import Cluster

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

NOTICED = 15.0  # seconds: a keepalive is sent after ten of silence, and waited for five (servicekit/rpc/client.py)
BUSY = 10.0  # seconds more, for a machine that runs everything on two cores
STREAMS = 4


def runs(database: str, **_: object) -> bool:
    """In the short run where there is one inference service, and where there are two (conftest.py)."""
    return LONG or database == "replicas"


async def test_streams_of_an_inference_service_that_stands_still_end_within_seconds(cluster: Cluster) -> None:
    accounts = await cluster.office.accounts(2 * STREAMS, PLENTY)
    edges = [cluster.address(edge) for edge in cluster.edges]
    running = [Client(edges[n % 2], account, max_tokens=1900) for n, account in enumerate(accounts[:STREAMS])]
    later = [Client(edges[n % 2], account, max_tokens=20) for n, account in enumerate(accounts[STREAMS:])]
    tasks = [client.start() for client in running]
    assert all(await asyncio.gather(*(client.reached(at_token(1)) for client in running)))
    alone = cluster.shape.inferences == 1
    began = time.monotonic()
    with cluster.service("inference" if alone else "inference-1").standing_still():
        await asyncio.gather(*tasks, *(client.run() for client in later))
        took = time.monotonic() - began
    assert took < NOTICED + BUSY
    for client in later:  # what had not begun goes to another, where there is one
        assert (client.received.status, client.received.code) == ((502, "upstream_error") if alone else (200, None))
    for client in running:
        assert client.received.code == "upstream_error" or client.received.finish == "length"
    assert any(client.received.code == "upstream_error" for client in running)
    await cluster.healed()
    await reconcile(cluster, "inference stands still", [*running, *later], faults=1)
