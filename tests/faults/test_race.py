"""Racing for the last credits of one account (G1, G2)."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from muhgpt.quota.v1 import quota_pb2
from tests.faults.client import Client
from tests.faults.conftest import LONG
from tests.faults.reconcile import Verdict, holds_ended
from tests.faults.report import REPORT, Row
from tests.worlds.cluster import Cluster
from tests.worlds.parts.office import Account

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

CLIENTS = 64
ROUNDS = 5 if LONG else 1
CREDITS = 4_000
TOKENS = 40  # of an answer, at most
INPUT, OUTPUT = 1, 3  # credits a token, as in the list that is shipped
RACE = 60.0  # seconds; an account that is never spent refuses what it could pay
PAUSE = 0.2  # seconds between a refusal and the next try
MOST_BUSY = CLIENTS  # 503 in all, which say that quota did not decide within its second: come back
CLOCKS = 0.05  # seconds by which the database's clock and ours may seem to differ


class Watch:
    """Looks at the balance during the race, and says when it is spent."""

    def __init__(self, cluster: Cluster, account: Account) -> None:
        self.looks = self.negative = self.busy = 0
        self.prompt: int | None = None  # tokens, known from the first answer's usage
        self.spent = asyncio.Event()
        self._cluster = cluster
        self._account = account

    async def run(self) -> None:
        while True:
            balance, held = await self._cluster.office.money(self._account)
            self.looks += 1
            self.negative += not 0 <= held <= balance
            if not held and self.prompt is not None and balance < INPUT * self.prompt + OUTPUT:
                self.spent.set()
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_64_clients_race_for_the_last_credits_to_the_token(cluster: Cluster, round_: int) -> None:
    account = await cluster.office.account(CREDITS)
    clients, watch = list[Client](), Watch(cluster, account)
    watching = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(RACE), asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(_spend(cluster, account, clients, watch))
    finally:
        watching.cancel()
    verdict = Verdict(Row(requests=len(clients), negative=watch.negative))
    await holds_ended(cluster, verdict)
    await _compare(cluster, account, clients, verdict)
    REPORT.add("racing for the last credits", cluster.shape.database, verdict.row)
    assert verdict.problems == []
    assert watch.negative == 0
    assert watch.looks > 10
    assert (await cluster.office.books()).balanced


async def _spend(cluster: Cluster, account: Account, clients: list[Client], watch: Watch) -> None:
    """One seat: asks again and again until nothing is left, and once more to be told so."""
    while True:
        spent = watch.spent.is_set()
        # Where edges know quota by other addresses (behind proxies) they choose other replicas for one account, which
        # then wait for each other: right, but slow on two cores.
        edge = "edge-1" if cluster.proxies else cluster.edges[len(clients) % len(cluster.edges)]
        client = Client(cluster.address(edge), account, max_tokens=TOKENS)
        clients.append(client)
        received = await client.run()
        assert received.status in (200, 402, 503), received
        if received.status == 503:
            watch.busy += 1
            assert watch.busy <= MOST_BUSY, received
            await asyncio.sleep(PAUSE)
            continue
        if received.usage is not None:
            watch.prompt = received.usage[0]
        if spent:
            assert received.status == 402, received
            return
        if received.status == 402:
            await asyncio.sleep(PAUSE)


async def _compare(cluster: Cluster, account: Account, clients: list[Client], verdict: Verdict) -> None:
    charges = await cluster.office.charges(account)
    balance, held = await cluster.office.money(account)
    served = [client.received for client in clients if client.received.status == 200]
    told = sorted(usage for usage in (received.usage for received in served) if usage)
    receipts = sorted((each.prompt_tokens, each.output_tokens) for each in charges if each.output_tokens)
    if len(told) != len(served):
        verdict.lost(f"{len(served) - len(told)} answers without an end")
    if told != receipts:
        verdict.doubled(f"answers told {told}, the receipts are {receipts}")
    cost = sum(INPUT * prompt + OUTPUT * output for prompt, output in told)
    if balance != account.credits - cost or held:
        verdict.wrong(f"{account.credits} were granted, {cost} spent, {balance} are left and {held} held")
    prompt = receipts[0][0]
    if balance >= INPUT * prompt + OUTPUT:
        verdict.wrong(f"the last request was refused with {balance} credits left, which pay {prompt} tokens and one")
    for client in clients:
        if client.received.status == 402 and not _was_short(account, client, charges, prompt):
            verdict.wrong(f"402 although the credits were there all the time: {client.received}")


def _was_short(account: Account, client: Client, charges: list[quota_pb2.Charge], prompt: int) -> bool:
    """Whether at some moment of the request the free credits may have been too few for the prompt and one token.

    From the receipts: a charge that has ended cost what it says; one that was open held at most its whole window.
    """
    began, ended = client.received.sent_at - CLOCKS, client.received.ended_at + CLOCKS
    instants = [began, ended, *itertools.chain.from_iterable((_reserved(each), _ended(each)) for each in charges)]
    for instant in (each for each in instants if began <= each <= ended):
        free = account.credits
        for charge in charges:
            if _ended(charge) <= instant:
                free -= charge.credits
            elif _reserved(charge) <= instant + CLOCKS:
                free -= INPUT * prompt + OUTPUT * TOKENS
        if free < INPUT * prompt + OUTPUT:
            return True
    return False


def _reserved(charge: quota_pb2.Charge) -> float:
    return charge.reserved_at.ToMicroseconds() / 1e6


def _ended(charge: quota_pb2.Charge) -> float:
    return charge.ended_at.ToMicroseconds() / 1e6
