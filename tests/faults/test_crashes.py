"""kill -9 of every process at many moments of a stream, under load (G3, G12)."""

from __future__ import annotations

import pytest

from tests.faults.client import at_token
from tests.faults.conftest import LONG
from tests.faults.load import under_load
from tests.faults.reconcile import reconcile
from tests.worlds.cluster import Cluster

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

TOKENS = 300  # of an answer
# The watched stream's tokens at which the process dies: on its way in, at its first token, while its hold slides, at
# its end, and when all is over and perhaps not yet settled.
MOMENTS = (0, 1, 31, 33, 64, 150, TOKENS - 1, TOKENS) if LONG else (100,)
IN_THE_SHORT_RUN = {
    ("sqlite", "quota-1"),
    ("sqlite", "inference"),
    ("postgresql", "edge-1"),
    ("postgresql", "inference/llama"),
    ("postgresql", "postgres"),
    ("replicas", "quota-1"),
}
ROLES = (
    *("edge-1/worker", "edge-1", "quota-1", "quota-2", "inference", "inference/llama", "postgres", "auth"),
    *("inference-1", "auth-1"),
)
OF_REPLICAS = ("edge-1", "quota-1", "inference-1", "auth-1")  # roles that are killed where there are two of everything
NAMES = {
    "edge-1": "an edge",
    "edge-1/worker": "an edge worker",
    "quota-1": "quota",
    "quota-2": "quota's second replica",
    "inference/llama": "the llama worker",
    "inference-1": "one of two inference replicas",
    "auth-1": "one of two auth replicas",
    "postgres": "PostgreSQL",
}


def runs(database: str, role: str) -> bool:
    """Whether a role is part of the platform on this database, and killed in this run (conftest.py)."""
    if not LONG:
        return (database, role) in IN_THE_SHORT_RUN
    if database == "replicas":
        return role in OF_REPLICAS
    return role not in ("inference-1", "auth-1") and (database == "postgresql" or role not in ("postgres", "quota-2"))


@pytest.mark.parametrize("role", ROLES)
async def test_whatever_is_killed_each_request_ends_once_and_costs_what_was_received(
    cluster: Cluster, role: str
) -> None:
    async with under_load(cluster, at_once=6, max_tokens=TOKENS, most=150 * len(MOMENTS)) as load:
        for moment in MOMENTS:
            watched = load.watched()
            task = watched.start()
            await watched.reached(at_token(moment))
            cluster.kill(role)
            await cluster.restart(role)
            await task
    await reconcile(cluster, f"kill -9 of {NAMES.get(role, role)}", load.clients, faults=len(MOMENTS))
