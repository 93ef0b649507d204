"""Without a price, quota, auth or a database nothing is generated and nothing charged (G7)."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.faults.client import Client, Received
from tests.faults.conftest import LONG
from tests.faults.load import PLENTY
from tests.faults.report import REPORT, Row
from tests.worlds.cluster import Cluster
from tests.worlds.parts.office import Account

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

ONE_SECOND = 1.0
BUSY = 1.0  # seconds of room on a machine that runs everything on two cores
KNOWN = 1.5  # seconds after which every edge worker knows that a service is gone
OTHER_PRICES = """
models:
  another-model:
    engine: llama
    file: default
    context_length: 2048
    price: { input: 1000000, output: 3000000 }
"""


def runs(database: str, how: signal.Signals | None = None) -> bool:
    """SQLite is in quota's own process and cannot be away; in the short run PostgreSQL is enough (conftest.py)."""
    return database == "postgresql" or (LONG and how is None and database == "sqlite")


async def ask(cluster: Cluster, account: Account) -> list[tuple[Received, float]]:
    """One request to each edge, and the seconds it took."""
    answers = []
    for edge in cluster.edges:
        began = time.monotonic()
        answers.append((await Client(cluster.address(edge), account, max_tokens=20).run(), time.monotonic() - began))
    return answers


def check_refused(answers: list[tuple[Received, float]], *, within: float = ONE_SECOND + BUSY) -> None:
    for received, seconds in answers:
        assert (received.status, received.tokens) == (503, 0), received
        assert seconds < within


async def check_nothing_charged(cluster: Cluster, account: Account, scenario: str) -> None:
    assert await cluster.office.money(account) == (account.credits, 0)
    assert all(charge.credits == 0 for charge in await cluster.office.charges(account))
    assert (await cluster.office.books()).balanced
    REPORT.add(scenario, cluster.shape.database, Row(faults=1, requests=len(cluster.edges)))


async def test_a_model_without_a_price_is_not_served(cluster: Cluster, tmp_path: Path) -> None:
    account = await cluster.office.account(PLENTY)
    prices = tmp_path / "models.yaml"
    prices.write_text(OTHER_PRICES)
    quotas = [f"quota-{number + 1}" for number in range(cluster.shape.quotas)]
    for quota in quotas:
        cluster.kill(quota)
        await cluster.restart(quota, MODELS_FILE=str(prices))
    await cluster.ready()
    answers = await ask(cluster, account)
    for quota in quotas:
        cluster.kill(quota)
    check_refused(answers)
    await cluster.healed()
    await check_nothing_charged(cluster, account, "no price")


async def test_without_quota_nothing_is_served(cluster: Cluster) -> None:
    account = await cluster.office.account(PLENTY)
    for number in range(cluster.shape.quotas):
        cluster.kill(f"quota-{number + 1}")
    at_once = await ask(cluster, account)
    await asyncio.sleep(KNOWN)
    later = await ask(cluster, account)
    await cluster.healed()
    check_refused(at_once)
    check_refused(later)
    await check_nothing_charged(cluster, account, "quota down")


async def test_without_auth_a_key_that_no_edge_knows_is_not_served(cluster: Cluster) -> None:
    account = await cluster.office.account(PLENTY)
    cluster.kill("auth")
    answers = await ask(cluster, account)
    await cluster.healed()
    check_refused(answers)
    await check_nothing_charged(cluster, account, "auth down")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_without_a_database_nothing_is_served_and_no_key_is_called_wrong(
    cluster: Cluster, how: signal.Signals
) -> None:
    assert cluster.postgres is not None
    known, unknown = await cluster.office.accounts(2, PLENTY)
    for edge in cluster.edges:
        await Client(cluster.address(edge), known, max_tokens=1).run()
    spent = (await cluster.office.money(known))[0]
    cluster.postgres.freeze() if how is signal.SIGSTOP else cluster.kill("postgres")
    answers = [*await ask(cluster, known), *await ask(cluster, unknown)]
    if how is signal.SIGSTOP:
        cluster.postgres.thaw()
    await cluster.healed()
    check_refused(answers, within=2 * ONE_SECOND + BUSY if how is signal.SIGSTOP else ONE_SECOND + BUSY)
    async with asyncio.timeout(30):
        while (await cluster.office.money(known))[1]:  # noqa: ASYNC110  (the hold ends in another process)
            await asyncio.sleep(0.05)
    assert await cluster.office.money(known) == (spent, 0)
    await check_nothing_charged(cluster, unknown, "database killed" if how is signal.SIGKILL else "database frozen")
