"""Quota's gRPC methods: unpack, one domain call, pack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from common.hold_id import LENGTH as HOLD_ID_LENGTH
from muhgpt.quota.v1 import quota_pb2 as pb
from muhgpt.quota.v1 import quota_pb2_grpc
from servicekit.clock import Clock
from servicekit.errors import DatabaseUnavailable
from services.quota import metrics
from services.quota.domain import errors
from services.quota.domain.credits import MAX_CREDITS
from services.quota.domain.operations import Grant, Refund
from services.quota.domain.outcomes import Balanced, Outcome, Reason, Refused
from services.quota.domain.pricing import PriceBook
from services.quota.domain.records import EntryKind, Hold
from services.quota.domain.reports import LedgerLine, LossDay, Reports
from services.quota.domain.store import Store
from services.quota.messages import day_range, from_units, hold_cursor, number_cursor, page_size, printable, valid_id
from services.quota.running.group_commit import Writer
from services.quota.running.guard import Guard
from services.quota.session import EdgeSession


@dataclass(frozen=True)
class Leases:
    """Seconds a session's holds live without a heartbeat, and how often the edge sends one."""

    lease: float
    heartbeat: float


class QuotaServicer(quota_pb2_grpc.QuotaServicer):
    """Implements muhgpt.quota.v1.Quota."""

    def __init__(
        self,
        *,
        store: Store,
        reader: Reports,
        writer: Writer,
        prices: PriceBook,
        leases: Leases,
        clock: Clock,
        draining: asyncio.Event,
        guard: Guard | None = None,
    ) -> None:
        self._store = store
        self._reader = reader
        self._writer = writer
        self._prices = prices
        self._guard = guard or Guard(clock)
        self._leases = leases
        self._clock = clock
        self._draining = draining

    async def Session(self, request_iterator: AsyncIterator[Any], context: Any) -> None:
        session = EdgeSession(
            self._store,
            self._writer,
            self._prices,
            self._guard,
            lease=self._leases.lease,
            heartbeat=self._leases.heartbeat,
        )
        with metrics.SESSIONS.track_inprogress():
            await session.run(aiter(request_iterator), context, self._draining)

    async def GetBalance(self, request: pb.GetBalanceRequest, context: Any) -> pb.GetBalanceResponse:
        balance = await self._reader.balance(request.account_id)
        return pb.GetBalanceResponse(balance=balance.balance, held=balance.held)

    async def GetUsage(self, request: pb.GetUsageRequest, context: Any) -> pb.GetUsageResponse:
        start, end = day_range(request.start_day, request.end_day)
        balance, usage = await self._reader.usage(request.account_id, start, end)
        return pb.GetUsageResponse(
            balance=balance.balance,
            totals=pb.UsageTotals(credits=usage.credits, tokens=usage.tokens, requests=usage.requests),
            days=[pb.UsageDay(day=day, credits=credits, requests=n) for day, credits, n in usage.days],
            models=[pb.UsageModel(model=model, credits=credits) for model, credits in usage.models],
        )

    async def ListCharges(self, request: pb.ListChargesRequest, context: Any) -> pb.ListChargesResponse:
        size = page_size(request.page_size)
        rows = await self._reader.charges(request.account_id, size + 1, hold_cursor(request.page_token))
        token = rows[size - 1].id.hex() if len(rows) > size else ""
        del rows[size:]
        return pb.ListChargesResponse(charges=map(_charge, rows), next_page_token=token)

    async def GetCharge(self, request: pb.GetChargeRequest, context: Any) -> pb.GetChargeResponse:
        if len(request.hold_id) != HOLD_ID_LENGTH:
            raise errors.IdMalformed("the id of a charge is 16 bytes, 32 hexadecimal digits")
        hold, edge_name = await self._reader.charge(request.hold_id)
        return pb.GetChargeResponse(
            account_id=hold.account_id,
            charge=_charge(hold),
            edge_name=edge_name,
            choices=hold.choices,
            requested_tokens=hold.requested_tokens,
            max_tokens=hold.max_tokens,
            covered_tokens=hold.covered_tokens,
            delivered_tokens=hold.delivered_tokens,
            held=hold.held,
        )

    async def Grant(self, request: pb.GrantRequest, context: Any) -> pb.GrantResponse:
        _check(request.grant_id, request.account_id, request.credits, least=0)
        reason = printable(request.reason)[:200]
        grant = Grant(request.grant_id, request.account_id, request.credits, reason)
        booked = _booked(await self._writer.do(grant))
        return pb.GrantResponse(balance=booked.balance, repeated=booked.repeated)

    async def Refund(self, request: pb.RefundRequest, context: Any) -> pb.RefundResponse:
        _check(request.refund_id, request.account_id, request.credits, least=1)
        reason = printable(request.reason)[:200]
        refund = Refund(request.refund_id, request.account_id, request.credits, reason)
        booked = _booked(await self._writer.do(refund))
        return pb.RefundResponse(balance=booked.balance, repeated=booked.repeated)

    async def ListLedger(self, request: pb.ListLedgerRequest, context: Any) -> pb.ListLedgerResponse:
        size = page_size(request.page_size)
        rows = await self._reader.ledger(request.account_id, size + 1, number_cursor(request.page_token))
        token = str(rows[size - 1].id) if len(rows) > size else ""
        del rows[size:]
        return pb.ListLedgerResponse(entries=map(_entry, rows), next_page_token=token)

    async def ListLosses(self, request: pb.ListLossesRequest, context: Any) -> pb.ListLossesResponse:
        start, end = day_range(request.start_day, request.end_day)
        size, offset = page_size(request.page_size), number_cursor(request.page_token) or 0
        rows = await self._reader.losses(request.account_id, start, end, size + 1, offset)
        token = str(offset + size) if len(rows) > size else ""
        del rows[size:]
        return pb.ListLossesResponse(days=map(_loss, rows), next_page_token=token)

    async def ForgiveLosses(self, request: pb.ForgiveLossesRequest, context: Any) -> pb.ForgiveLossesResponse:
        if not valid_id(request.account_id):
            raise errors.IdMalformed("account_id is missing or impossible")
        return pb.ForgiveLossesResponse(forgiven=await self._store.forgive_losses(request.account_id))

    async def CheckBooks(self, request: pb.CheckBooksRequest, context: Any) -> pb.CheckBooksResponse:
        counted = await self._reader.recount(full=request.full)
        answer = pb.CheckBooksResponse(
            balanced=not counted.differences,
            accounts=counted.accounts,
            granted=counted.totals[EntryKind.GRANT],
            purchased=counted.totals[EntryKind.PURCHASE],
            refunded=-counted.totals[EntryKind.REFUND],
            charged=-counted.totals[EntryKind.CHARGE],
            balance=counted.balance,
            held=counted.held,
            open_holds=counted.open_holds,
            answer_refunds=counted.totals[EntryKind.ANSWER_REFUND],
        )
        if counted.oldest_hold_us is not None:
            answer.oldest_hold.FromMicroseconds(max(0, self._clock.now_us() - counted.oldest_hold_us))
        for each in counted.differences:
            answer.differences.add(account_id=each.subject, check=each.check, expected=each.expected, found=each.found)
        return answer


def _check(operation_id: str, account_id: str, credits: int, *, least: int) -> None:
    if not 1 <= len(operation_id) <= 64 or not operation_id.isprintable():
        raise errors.IdMalformed("the id must have 1 to 64 printable characters")
    if not valid_id(account_id):
        raise errors.IdMalformed("account_id is missing or impossible")
    if not least <= credits <= MAX_CREDITS:
        raise errors.AmountOutOfRange(f"credits must be {least} to {MAX_CREDITS}, not {credits}")


def _booked(outcome: Outcome) -> Balanced:
    if isinstance(outcome, Balanced):
        return outcome
    assert isinstance(outcome, Refused)
    if outcome.reason is Reason.UNAVAILABLE:
        raise DatabaseUnavailable(outcome.detail)
    error = {
        Reason.ID_REUSED: errors.IdReused,
        Reason.INSUFFICIENT_CREDITS: errors.InsufficientCredits,
        Reason.INVALID: errors.AmountOutOfRange,
    }[outcome.reason]
    raise error(outcome.detail)


def _charge(hold: Hold) -> pb.Charge:
    charge = pb.Charge(
        hold_id=hold.id,
        key_id=hold.key_id,
        model=hold.model,
        state=hold.state,  # type: ignore[arg-type] # the numbers are the proto's
        prompt_tokens=hold.prompt_tokens,
        output_tokens=hold.output_tokens,
        input_price=hold.input_price,
        output_price=hold.output_price,
        credits=hold.credits,
        uncollected_credits=hold.uncollected,
        unconfirmed=hold.unconfirmed,
        refunded_credits=hold.refunded,
        estimated=hold.estimated,
    )
    for name in ("endpoint", "member_id", "request_id", "end_reason", "first_token_ms", "cached_tokens", "produced"):
        if (value := getattr(hold, name)) is not None:
            setattr(charge, name, value)
    if hold.units is not None:
        taken, given = from_units(hold.units)
        charge.MergeFrom(pb.Charge(input_units=taken, output_units=given))
    charge.reserved_at.FromMicroseconds(hold.reserved_us)
    if hold.ended_us is not None:
        charge.ended_at.FromMicroseconds(hold.ended_us)
    return charge


def _loss(row: LossDay) -> pb.LossDay:
    return pb.LossDay(
        account_id=row.account_id,
        day=row.day,
        uncollected=row.uncollected,
        estimate_minus_usage=row.estimate_minus_usage,
        answer_refunds=row.answer_refunds,
        retry_refunds=row.retry_refunds,
        abandoned=row.abandoned,
        forgiven=row.forgiven,
    )


def _entry(line: LedgerLine) -> pb.LedgerEntry:
    entry = pb.LedgerEntry(
        entry_id=line.id,
        kind=line.kind,  # type: ignore[arg-type] # the stored numbers are the proto's
        credits=line.credits,
        reference=line.reference,
        reason=line.reason,
    )
    entry.created_at.FromMicroseconds(line.created_us)
    return entry
