"""After the faults: every request against its receipt, every account against its books."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from muhgpt.quota.v1 import quota_pb2
from tests.faults.client import Client, Received
from tests.faults.report import REPORT, Row
from tests.worlds.cluster import Cluster
from tests.worlds.parts.office import Account

HOLDS_END = 30.0  # seconds after a crash within which every hold has ended (G3)
WINDOW = 64  # tokens that what was paid may differ from what was received (G3, G4)
ROOM = 1.0  # seconds that looking itself may take
MOMENT = 5.0  # seconds between a whole answer's charge and the kill that kept it from being written, on a busy machine
REFUNDED = 60.0  # seconds after which nothing is unconfirmed any more: a lease, the sweeper's grace, and its interval
UNDER_WAY = 0.25  # seconds that a confirmation may be under way when its edge is killed
LATE = 5.0  # seconds that a client may read after the kill what had arrived before, on a busy machine


@dataclass
class Verdict:
    """What reconciling found; `problems` are sentences, none when all is right."""

    row: Row = field(default_factory=Row)
    problems: list[str] = field(default_factory=list)
    unpaid: list[Client] = field(default_factory=list)  # whose whole answer was read and given back

    def lost(self, problem: str) -> None:
        self.row.lost += 1
        self.problems.append(f"lost: {problem}")

    def doubled(self, problem: str) -> None:
        self.row.doubled += 1
        self.problems.append(f"doubled: {problem}")

    def wrong(self, problem: str) -> None:
        self.problems.append(problem)


async def reconcile(
    cluster: Cluster, scenario: str, clients: Sequence[Client], *, faults: int, unsent: int = 0, parted: str = ""
) -> Row:
    """Waits until no hold is open, then checks that each client's request cost what it should. Each has its account.

    Fails with every difference named. `unsent`: tokens that may have waited to be sent to a client that did not read.
    `parted`: the address of an edge that quota did not hear of until the leases of its holds were over.
    """
    verdict = Verdict(Row(faults=faults, requests=len(clients)))
    await holds_ended(cluster, verdict)
    await _confirmed(cluster, clients, verdict)
    for client in clients:
        await _check(cluster, client, verdict, unsent, parted=client.address == parted)
    _check_unpaid(cluster, clients, verdict)
    books = await cluster.office.books()
    for each in books.differences:
        verdict.wrong(f"books of {each.account_id}: {each.check}: expected {each.expected}, found {each.found}")
    came = books.granted + books.purchased + books.answer_refunds - books.refunded
    if not books.balanced or came != books.balance + books.charged:
        verdict.wrong(f"the books do not balance: {books}")
    REPORT.add(scenario, cluster.shape.database, verdict.row)
    assert not verdict.problems, "\n".join([f"{scenario} on {cluster.shape.database}:", *verdict.problems])
    return verdict.row


async def holds_ended(cluster: Cluster, verdict: Verdict) -> None:
    """Waits until no hold is open."""
    deadline = time.monotonic() + HOLDS_END + ROOM
    while (books := await cluster.office.books()).open_holds:
        if time.monotonic() > deadline:
            verdict.lost(f"{books.open_holds} holds are still open after {HOLDS_END:.0f} s, {books.held} credits held")
            return
        await asyncio.sleep(0.05)


async def _confirmed(cluster: Cluster, clients: Sequence[Client], verdict: Verdict) -> None:
    """Waits until every charge of a whole answer stands or was given back."""
    deadline = time.monotonic() + REFUNDED
    for client in clients:
        while any(charge.unconfirmed for charge in await cluster.office.charges(client.account)):
            if time.monotonic() > deadline:
                verdict.lost(f"a charge is still unconfirmed after {REFUNDED:.0f} s; {client.received}")
                return
            await asyncio.sleep(0.09)


async def _check(cluster: Cluster, client: Client, verdict: Verdict, unsent: int, *, parted: bool) -> None:
    account, received = client.account, client.received
    charges = await cluster.office.charges(account)
    balance, held = await cluster.office.money(account)
    told = f"request of {account.account_id}: {received}"
    if len(charges) > 1:
        verdict.doubled(f"{len(charges)} holds for one request; {told}")
    for charge in charges:
        if charge.state not in (charge.STATE_SETTLED, charge.STATE_RELEASED, charge.STATE_EXPIRED):
            verdict.lost(f"a hold that did not end, {charge}; {told}")
        if charge.HasField("ended_at"):
            verdict.row.stuck = max(verdict.row.stuck, charge.ended_at.ToMicroseconds() / 1e6 - received.ended_at)
    await _check_ledger(cluster, account, charges, verdict)
    paid = sum(charge.credits for charge in charges)
    if not 0 <= held <= balance:
        verdict.row.negative += 1
        verdict.wrong(f"balance {balance}, held {held}; {told}")
    if balance != account.credits - paid or held:
        verdict.wrong(f"balance {balance} and held {held} after {account.credits} granted and {paid} paid; {told}")
    tokens_paid = sum(charge.output_tokens for charge in charges if charge.credits)
    verdict.row.unpaid += parted and ended_unpaid(received, tokens_paid)
    problem = compare(received, tokens_paid, unsent, parted=parted)
    given_back = len(charges) == 1 and charges[0].refunded_credits > 0
    if problem is not None and client.whole and received.usage is not None and given_back:
        verdict.unpaid.append(client)
    elif problem is not None:
        verdict.row.unseen += client.whole and _paid_at_the_last_moment(received, charges)
        verdict.lost(f"{problem}; {told}; {charges}")


def _paid_at_the_last_moment(received: Received, charges: list[quota_pb2.Charge]) -> bool:
    """Whether a whole answer of which nothing came was charged just before its connection broke.

    It should have been given back: it was charged before it was written, so that a client that reads usage next finds
    the charge, and its edge was killed in between.
    """
    ends = [charge.ended_at.ToMicroseconds() / 1e6 for charge in charges if charge.state == charge.STATE_SETTLED]
    return received.status == 0 and len(ends) == 1 and 0 <= received.ended_at - ends[0] < MOMENT


def _check_unpaid(cluster: Cluster, clients: Sequence[Client], verdict: Verdict) -> None:
    """What was read and given back, kill by kill: at most the whole answers of the killed edge that were read so
    shortly before that their confirmations can have been under way."""
    verdict.row.unpaid += len(verdict.unpaid)
    explained: set[Client] = set()
    for address, kill in cluster.edge_kills:
        there = [each for each in clients if each.whole and each.address == address and each.received.usage]
        late = {each for each in there if -LATE < kill - each.received.ended_at <= UNDER_WAY}
        verdict.row.read_late += len(late)
        explained |= late
    for client in verdict.unpaid:
        if client not in explained:
            verdict.lost(f"an answer was read long before its edge was killed, and given back: {client.received}")


async def _check_ledger(cluster: Cluster, account: Account, charges: list[quota_pb2.Charge], verdict: Verdict) -> None:
    entries = await cluster.office.ledger(account)
    booked = sorted((each.reference, -each.credits) for each in entries if each.kind == each.KIND_CHARGE)
    receipts = sorted(
        (each.hold_id.hex(), each.credits + each.refunded_credits) for each in charges if each.output_tokens
    )
    if booked != receipts:
        verdict.doubled(f"{account.account_id}: receipts {receipts}, but the ledger has {booked}")
    returned = sorted((each.reference, each.credits) for each in entries if each.kind == each.KIND_ANSWER_REFUND)
    refunds = sorted((each.hold_id.hex(), each.refunded_credits) for each in charges if each.refunded_credits)
    if returned != refunds:
        verdict.doubled(f"{account.account_id}: given back {refunds}, but the ledger has {returned}")


def ended_unpaid(received: Received, paid: int) -> bool:
    """Whether a stream ended before quota acknowledged its charge, which then came to what quota had heard last.

    An edge that is parted from quota after the last token waits two seconds for the charge and ends the stream
    (docs/money.md). Its hold expires, at most a window behind what was delivered.
    """
    if received.usage is None or received.left or received.tokens != received.usage[1]:
        return False
    return received.usage[1] - WINDOW <= paid < received.usage[1]


def compare(received: Received, paid: int, unsent: int = 0, *, parted: bool = False) -> str | None:
    """What is wrong with having paid for that many tokens; None when nothing is.

    A whole answer costs what it reported. One that was cut by us costs what was received or up to a window less. One
    that the client left costs what was generated within its hold: what was sent to it, or up to a window more (G3, G4).
    One whose edge was parted from quota may have ended before it was paid in full.
    """
    tokens = received.tokens
    if parted and ended_unpaid(received, paid):
        return None
    if received.usage is not None:
        right = received.usage[1] == paid == tokens or (received.left and paid == received.usage[1])
        return None if right else f"the answer told {received.usage[1]} tokens, had {tokens}, and {paid} were paid"
    least, most = (tokens, tokens + unsent + WINDOW) if received.left else (tokens - WINDOW, tokens)
    if least <= paid <= most:
        return None
    return f"{tokens} tokens were received and {paid} paid"
