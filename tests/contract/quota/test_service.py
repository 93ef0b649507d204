"""Quota's servicer over a real port, with SQLite behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from muhgpt.quota.v1 import quota_pb2 as pb
from muhgpt.quota.v1 import quota_pb2_grpc
from servicekit.rpc.access import Tokens
from servicekit.rpc.client import Peer, connect
from servicekit.rpc.server import Server
from servicekit.rpc.status import RpcFailure
from services.quota.domain.pricing import Price, PriceBook
from services.quota.running.group_commit import Writer
from services.quota.running.guard import Guard
from services.quota.running.sweeper import refund_unconfirmed, sweep
from services.quota.service import Leases, QuotaServicer
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import hold_id, opened

TOKENS = Tokens(edge="edge-token-of-the-test", operator="operator-token-of-the-test")
SESSION = b"session-session-"


@dataclass
class Quota:
    server: Server
    address: str
    clock: FakeClock
    store: Any
    guard: Guard
    writer: Writer
    operator: Peer
    edge: Peer

    @property
    def stub(self) -> Any:
        return quota_pb2_grpc.QuotaStub(self.operator.channel)

    async def grant(self, account: str, credits: int, grant_id: str = "g") -> int:
        request = pb.GrantRequest(grant_id=grant_id, account_id=account, credits=credits)
        return (await self.operator.call(self.stub.Grant, request, timeout=5)).balance

    async def session(self, session_id: bytes = SESSION) -> Any:
        """An open stream after its welcome."""
        call = quota_pb2_grpc.QuotaStub(self.edge.channel).Session(metadata=self.edge.metadata())
        await call.write(pb.SessionRequest(hello=pb.SessionHello(session_id=session_id, edge_name="test")))
        welcome = (await call.read()).welcome
        assert welcome.window_tokens == 64
        assert welcome.lease.ToSeconds() == 10
        return call


@pytest.fixture
async def quota(tmp_path: Path) -> AsyncIterator[Quota]:
    clock = FakeClock()
    async with opened(f"sqlite:///{tmp_path / 'quota.db'}", clock) as (database, store):
        writer = Writer(store.apply, shards=2, observe=lambda _: None)
        running = asyncio.create_task(writer.run())
        server = Server(name="quota", listen="127.0.0.1:0", tokens=TOKENS, drain_timeout=2)
        guard = Guard(clock)
        servicer = QuotaServicer(
            store=store,
            reader=Reader(database),
            writer=writer,
            prices=PriceBook({"muh-chat": Price(1_000_000, 3_000_000)}),
            leases=Leases(10.0, 3.0),
            clock=clock,
            draining=server.draining,
            guard=guard,
        )
        server.add(servicer, quota_pb2_grpc.add_QuotaServicer_to_server, pb.DESCRIPTOR.services_by_name["Quota"])
        address = await server.start()
        peers = [connect(address, token=token) for token in (TOKENS.operator, TOKENS.edge)]
        yield Quota(server, address, clock, store, guard, writer, *peers)
        for peer in peers:
            await peer.close()
        await server.stop()
        running.cancel()


def reserve(name: str, account: str = "a", model: str = "muh-chat", prompt: int = 10) -> pb.Operation:
    return pb.Operation(
        hold_id=hold_id(name),
        reserve=pb.Reserve(
            account_id=account,
            key_id="k",
            model=model,
            prompt_tokens=prompt,
            max_tokens=100,
            choices=1,
            requests_per_minute=60,
        ),
    )


def settle(name: str, tokens: int) -> pb.Operation:
    return pb.Operation(hold_id=hold_id(name), settle=pb.Settle(output_tokens=tokens))


async def ask(call: Any, *operations: pb.Operation) -> dict[bytes, pb.Outcome]:
    """Sends one batch and reads until each operation has its outcome."""
    await call.write(pb.SessionRequest(operations=pb.Operations(operations=operations)))
    outcomes: dict[bytes, pb.Outcome] = {}
    for _ in operations:
        if len(outcomes) < len(operations):
            response = await asyncio.wait_for(call.read(), 5)
            outcomes.update({each.hold_id: each for each in response.outcomes.outcomes})
    return outcomes


async def test_a_request_is_reserved_slides_and_settles_over_one_stream(quota: Quota) -> None:
    assert await quota.grant("a", 1000) == 1000
    call = await quota.session()
    reserved = (await ask(call, reserve("h")))[hold_id("h")].reserved
    assert (reserved.max_tokens, reserved.covered_tokens, reserved.window.remaining) == (100, 64, 59)
    progress = pb.Operation(hold_id=hold_id("h"), progress=pb.Progress(delivered_tokens=20))
    assert (await ask(call, progress))[hold_id("h")].progressed.covered_tokens == 84
    assert (await ask(call, settle("h", 20)))[hold_id("h")].settled.credits == 70
    balance = await quota.edge.call(
        quota_pb2_grpc.QuotaStub(quota.edge.channel).GetBalance, pb.GetBalanceRequest(account_id="a"), timeout=5
    )
    assert (balance.balance, balance.held) == (930, 0)


async def test_one_message_carries_many_requests(quota: Quota) -> None:
    await quota.grant("a", 100_000)
    call = await quota.session()
    outcomes = await ask(call, *(reserve(f"h{number}") for number in range(60)))
    assert all(each.WhichOneof("outcome") == "reserved" for each in outcomes.values())
    refused = (await ask(call, reserve("h60")))[hold_id("h60")].refused
    assert refused.reason == pb.Refused.REASON_RATE_LIMITED
    assert refused.retry_after.ToSeconds() == 60
    assert refused.limit == pb.Refused.LIMIT_ACCOUNT


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (reserve("h"), pb.Refused.REASON_INSUFFICIENT_CREDITS),
        (reserve("h", model="unknown"), pb.Refused.REASON_NO_PRICE),
        (reserve("h", prompt=0), pb.Refused.REASON_INVALID),
        (reserve("h", account=""), pb.Refused.REASON_INVALID),
        (settle("h", 3), pb.Refused.REASON_HOLD_ENDED),
        (settle("h", -1), pb.Refused.REASON_INVALID),
        (pb.Operation(hold_id=hold_id("h")), pb.Refused.REASON_INVALID),
        (pb.Operation(hold_id=b"short"), pb.Refused.REASON_INVALID),
    ],
)
async def test_refusals_name_their_reason(quota: Quota, operation: pb.Operation, reason: int) -> None:
    call = await quota.session()
    assert (await ask(call, operation))[operation.hold_id].refused.reason == reason


async def test_what_a_broken_stream_left_unanswered_can_be_asked_again(quota: Quota) -> None:
    await quota.grant("a", 1000)
    call = await quota.session()
    await call.write(pb.SessionRequest(operations=pb.Operations(operations=[reserve("h")])))
    call.cancel()
    again = await quota.session()
    assert (await ask(again, reserve("h")))[hold_id("h")].reserved.covered_tokens == 64
    for _ in range(2):
        assert (await ask(again, settle("h", 1)))[hold_id("h")].settled.credits == 13


async def test_a_heartbeat_renews_the_lease_and_a_silent_sessions_holds_expire(quota: Quota) -> None:
    await quota.grant("a", 1000)
    call = await quota.session()
    await ask(call, reserve("h"))
    quota.clock.advance(9)
    await call.write(pb.SessionRequest(heartbeat=pb.SessionHeartbeat(number=1)))
    assert (await call.read()).heartbeat.number == 1
    quota.clock.advance(9)
    assert await sweep(quota.store, quota.writer) == 0
    quota.clock.advance(2)
    assert await sweep(quota.store, quota.writer) == 1
    settled = (await ask(call, settle("h", 5)))[hold_id("h")]
    assert (settled.WhichOneof("outcome"), settled.settled.credits) == ("settled", 0)


async def test_a_session_must_begin_with_hello(quota: Quota) -> None:
    for first in (
        pb.SessionRequest(heartbeat=pb.SessionHeartbeat(number=1)),
        pb.SessionRequest(hello=pb.SessionHello(session_id=b"short")),
    ):
        call = quota_pb2_grpc.QuotaStub(quota.edge.channel).Session(metadata=quota.edge.metadata())
        await call.write(first)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_draining_server_tells_its_streams(quota: Quota) -> None:
    call = await quota.session()
    stopping = asyncio.create_task(quota.server.stop())
    assert (await asyncio.wait_for(call.read(), 5)).WhichOneof("message") == "draining"
    call.cancel()
    await stopping


@pytest.mark.parametrize(
    ("request_message", "code", "reason"),
    [
        (pb.GrantRequest(grant_id="", account_id="a"), "INVALID_ARGUMENT", "ID_MALFORMED"),
        (pb.GrantRequest(grant_id="x", account_id=""), "INVALID_ARGUMENT", "ID_MALFORMED"),
        (pb.GrantRequest(grant_id="x", account_id="a", credits=-1), "INVALID_ARGUMENT", "AMOUNT_OUT_OF_RANGE"),
        (pb.GrantRequest(grant_id="g", account_id="a", credits=5), "ALREADY_EXISTS", "ID_REUSED"),
        (pb.RefundRequest(refund_id="r", account_id="a", credits=1001), "FAILED_PRECONDITION", "INSUFFICIENT_CREDITS"),
        (pb.RefundRequest(refund_id="r", account_id="a", credits=0), "INVALID_ARGUMENT", "AMOUNT_OUT_OF_RANGE"),
        (pb.GetUsageRequest(start_day="yesterday", end_day="2025-01-01"), "INVALID_ARGUMENT", "RANGE_INVALID"),
        (pb.GetUsageRequest(start_day="2025-01-02", end_day="2025-01-01"), "INVALID_ARGUMENT", "RANGE_INVALID"),
        (pb.ListChargesRequest(page_token="x"), "INVALID_ARGUMENT", "CURSOR_MALFORMED"),
        (pb.ListChargesRequest(page_token="ab"), "INVALID_ARGUMENT", "CURSOR_MALFORMED"),
        (pb.ListChargesRequest(account_id="a", page_token="00" * 16), "INVALID_ARGUMENT", "CURSOR_MALFORMED"),
        (pb.ListChargesRequest(account_id="a", page_size=1001), "INVALID_ARGUMENT", "LIMIT_OUT_OF_RANGE"),
        (pb.ListLedgerRequest(account_id="a", page_size=-5), "INVALID_ARGUMENT", "LIMIT_OUT_OF_RANGE"),
        (
            pb.ListLossesRequest(start_day="2025-01-01", end_day="2025-01-01", page_size=-1),
            "INVALID_ARGUMENT",
            "LIMIT_OUT_OF_RANGE",
        ),
        (pb.GetChargeRequest(hold_id=b"short"), "INVALID_ARGUMENT", "ID_MALFORMED"),
        (pb.GetChargeRequest(hold_id=hold_id("never")), "NOT_FOUND", "CHARGE_UNKNOWN"),
        (pb.ListLedgerRequest(page_token="-1"), "INVALID_ARGUMENT", "CURSOR_MALFORMED"),
    ],
)
async def test_unary_failures_are_the_protos(quota: Quota, request_message: Any, code: str, reason: str) -> None:
    await quota.grant("a", 1000)
    method = getattr(quota.stub, type(request_message).__name__.removesuffix("Request"))
    with pytest.raises(RpcFailure) as caught:
        await quota.operator.call(method, request_message, timeout=5)
    assert (caught.value.code.name, caught.value.reason) == (code, reason)


async def test_usage_receipts_ledger_and_recount_tell_the_same_story(quota: Quota) -> None:
    await quota.grant("a", 1000)
    call = await quota.session()
    for name in ("h1", "h2", "h3"):
        await ask(call, reserve(name))
        await ask(call, settle(name, 2))
    await ask(call, reserve("open"))
    usage = await quota.operator.call(
        quota.stub.GetUsage,
        pb.GetUsageRequest(account_id="a", start_day="2025-06-01", end_day="2025-06-30"),
        timeout=5,
    )
    assert (usage.balance, usage.totals.credits, usage.totals.tokens, usage.totals.requests) == (952, 48, 36, 3)
    assert [(day.day, day.credits, day.requests) for day in usage.days] == [("2025-06-15", 48, 3)]
    charges, token = [], ""
    while True:
        page = await quota.operator.call(
            quota.stub.ListCharges, pb.ListChargesRequest(account_id="a", page_size=2, page_token=token), timeout=5
        )
        charges += page.charges
        if not (token := page.next_page_token):
            break
    assert [(each.hold_id, each.credits) for each in charges] == [
        (hold_id("open"), 0),
        (hold_id("h3"), 16),
        (hold_id("h2"), 16),
        (hold_id("h1"), 16),
    ]
    ledger = await quota.operator.call(quota.stub.ListLedger, pb.ListLedgerRequest(account_id="a"), timeout=5)
    assert sum(each.credits for each in ledger.entries) == 952
    quota.clock.advance(7)
    books = await quota.operator.call(quota.stub.CheckBooks, pb.CheckBooksRequest(), timeout=5)
    assert books.balanced
    assert (books.granted, books.charged, books.balance, books.held, books.open_holds) == (1000, 48, 952, 202, 1)
    assert books.oldest_hold.ToSeconds() == 7


async def test_a_receipt_has_what_the_edge_reported_and_nothing_that_it_did_not(quota: Quota) -> None:
    await quota.grant("a", 1000)
    call, operation = await quota.session(), reserve("h")
    operation.reserve.MergeFrom(pb.Reserve(endpoint="embeddings", member_id="m", request_id="req\n1", idempotency="d"))
    settle = pb.Settle(end_reason="stop", first_token_ms=0, cached_tokens=7, output_tokens=2)
    settle.MergeFrom(pb.Settle(output_units=pb.Units(kind="images", quantity=3)))
    await ask(call, operation, reserve("plain"))
    await ask(call, pb.Operation(hold_id=hold_id("h"), settle=settle))
    charges = {}
    for name in ("h", "plain"):
        request = pb.GetChargeRequest(hold_id=hold_id(name))
        charges[name] = (await quota.operator.call(quota.stub.GetCharge, request, timeout=5)).charge
    charge = charges["h"]
    assert (charge.endpoint, charge.member_id, charge.request_id) == ("embeddings", "m", "req1")
    assert (charge.end_reason, charge.first_token_ms, charge.cached_tokens) == ("stop", 0, 7)
    assert (charge.HasField("input_units"), charge.output_units) == (False, pb.Units(kind="images", quantity=3))
    assert charge.produced
    fields = {field.name for field, _ in charges["plain"].ListFields()}
    assert not fields & {"endpoint", "member_id", "end_reason", "first_token_ms", "output_units", "produced"}


async def test_one_charge_is_found_by_its_id_with_all_that_is_known_of_it(quota: Quota) -> None:
    await quota.grant("a", 1000)
    call = await quota.session()
    await ask(call, reserve("h"))
    progress = pb.Operation(hold_id=hold_id("h"), progress=pb.Progress(delivered_tokens=20))
    await ask(call, progress)
    request = pb.GetChargeRequest(hold_id=hold_id("h"))
    found = await quota.operator.call(quota.stub.GetCharge, request, timeout=5)
    assert (found.account_id, found.edge_name, found.charge.state) == ("a", "test", pb.Charge.STATE_HELD)
    assert (found.covered_tokens, found.delivered_tokens, found.held) == (84, 20, 10 + 84 * 3)
    await ask(call, settle("h", 20))
    found = await quota.operator.call(quota.stub.GetCharge, request, timeout=5)
    assert (found.charge.state, found.charge.credits, found.held) == (pb.Charge.STATE_SETTLED, 70, 0)
    with pytest.raises(RpcFailure) as caught:
        await quota.edge.call(quota_pb2_grpc.QuotaStub(quota.edge.channel).GetCharge, request, timeout=5)
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_reservation_whose_edge_has_a_wrong_clock_is_invalid(quota: Quota) -> None:
    await quota.grant("a", 1000)
    call = await quota.session()
    quota.clock.advance(2 * 86_400)
    refused = (await ask(call, reserve("h")))[hold_id("h")].refused
    assert refused.reason == pb.Refused.REASON_INVALID
    assert "set the edge's clock" in refused.detail


async def test_the_welcome_lists_what_this_version_understands(quota: Quota) -> None:
    call = quota_pb2_grpc.QuotaStub(quota.edge.channel).Session(metadata=quota.edge.metadata())
    await call.write(pb.SessionRequest(hello=pb.SessionHello(session_id=SESSION, features=["from the future"])))
    assert set((await call.read()).welcome.features) >= {"confirm", "prompt_slide", "produced"}


async def test_work_without_output_tokens_is_charged_for_its_prompt_once_it_produced_something(quota: Quota) -> None:
    await quota.grant("a", 25)
    call = await quota.session()
    for name, produced in (("h1", True), ("h2", False)):
        operation = reserve(name)
        operation.reserve.max_tokens = 0
        assert (await ask(call, operation))[hold_id(name)].reserved.max_tokens == 0
        settle = pb.Operation(hold_id=hold_id(name), settle=pb.Settle(produced=produced))
        outcome = (await ask(call, settle))[hold_id(name)]
        expected = pb.Outcome(settled=pb.Settled(credits=10)) if produced else pb.Outcome(released=pb.Released())
        expected.hold_id = hold_id(name)
        assert outcome == expected


async def test_a_whole_answer_is_charged_unconfirmed_and_its_confirmation_is_seen_on_the_receipt(quota: Quota) -> None:
    await quota.grant("a", 1000)
    call = await quota.session()
    await ask(call, reserve("h"))
    charge = pb.Operation(hold_id=hold_id("h"), settle=pb.Settle(output_tokens=20, unconfirmed=True))
    assert (await ask(call, charge))[hold_id("h")].settled.credits == 70
    request = pb.GetChargeRequest(hold_id=hold_id("h"))
    assert (await quota.operator.call(quota.stub.GetCharge, request, timeout=5)).charge.unconfirmed
    for _ in range(2):
        outcome = (await ask(call, pb.Operation(hold_id=hold_id("h"), confirm=pb.Confirm())))[hold_id("h")]
        assert outcome == pb.Outcome(hold_id=hold_id("h"), confirmed=pb.Confirmed())
    charge = (await quota.operator.call(quota.stub.GetCharge, request, timeout=5)).charge
    assert (charge.unconfirmed, charge.credits, charge.refunded_credits) == (False, 70, 0)


async def test_a_refund_stands_in_receipt_ledger_books_and_loss_book_and_a_late_confirmation_learns_of_it(
    quota: Quota,
) -> None:
    await quota.grant("a", 1000)
    call = await quota.session()
    await ask(call, reserve("h"))
    await ask(call, pb.Operation(hold_id=hold_id("h"), settle=pb.Settle(output_tokens=20, unconfirmed=True)))
    quota.clock.advance(41)
    assert await refund_unconfirmed(quota.store, quota.writer) == 1
    before = REGISTRY.get_sample_value("muhgpt_quota_late_confirmations_total") or 0.0
    outcome = (await ask(call, pb.Operation(hold_id=hold_id("h"), confirm=pb.Confirm())))[hold_id("h")]
    assert outcome.confirmed.refunded_credits == 70
    assert REGISTRY.get_sample_value("muhgpt_quota_late_confirmations_total") == before + 1
    call = quota.operator.call
    charge = (await call(quota.stub.ListCharges, pb.ListChargesRequest(account_id="a"), timeout=5)).charges[0]
    assert (charge.state, charge.credits, charge.refunded_credits) == (pb.Charge.STATE_SETTLED, 0, 70)
    entry = (await call(quota.stub.ListLedger, pb.ListLedgerRequest(account_id="a"), timeout=5)).entries[0]
    assert (entry.kind, entry.credits) == (pb.LedgerEntry.KIND_ANSWER_REFUND, 70)
    books = await call(quota.stub.CheckBooks, pb.CheckBooksRequest(), timeout=5)
    assert (books.balanced, books.answer_refunds, books.charged, books.balance) == (True, 70, 70, 1000)
    period = pb.ListLossesRequest(start_day="2025-01-01", end_day="2025-12-31")
    losses = (await call(quota.stub.ListLosses, period, timeout=5)).days
    assert [(each.account_id, each.answer_refunds) for each in losses] == [("a", 70)]


@pytest.mark.parametrize(
    "fields",
    [
        {"account_version": 2**63 - 1},
        {"key_version": 2**63 - 1},
        {"account_version": -1},
        {"account_id": "a" * 129},
        {"key_id": "k" * 129},
        {"account_id": "a\0b"},
        {"key_id": "\x1b[31m"},
        {"key_requests_per_minute": 0},
        {"monthly_credit_limit": -1},
    ],
)
async def test_a_reservation_that_no_principal_of_auth_can_have_made_is_invalid_and_changes_nothing(
    quota: Quota, fields: dict[str, Any]
) -> None:
    await quota.grant("a", 1000)
    call, bad = await quota.session(), reserve("bad")
    for name, value in fields.items():
        setattr(bad.reserve, name, value)
    bad.reserve.requests_per_minute = 7777
    answers = await ask(call, bad, reserve("good"))
    assert answers[hold_id("bad")].refused.reason == pb.Refused.REASON_INVALID
    assert answers[hold_id("good")].reserved.window.limit == 60


async def test_an_edge_of_the_version_before_is_told_of_too_high_losses_as_of_a_full_window(quota: Quota) -> None:
    await quota.grant("a", 1000)
    quota.guard.bar("2025-06-15", frozenset({"a"}))
    for features, reason in (
        ([], pb.Refused.REASON_RATE_LIMITED),
        (["losses_too_high"], pb.Refused.REASON_LOSSES_TOO_HIGH),
    ):
        call = quota_pb2_grpc.QuotaStub(quota.edge.channel).Session(metadata=quota.edge.metadata())
        await call.write(pb.SessionRequest(hello=pb.SessionHello(session_id=SESSION, features=features)))
        await call.read()
        refused = (await ask(call, reserve("h")))[hold_id("h")].refused
        assert refused.reason == reason
        assert refused.retry_after.ToSeconds() > 0
