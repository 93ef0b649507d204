"""Quota as the edge meets it, in memory: one credit a token, holds that slide, outcomes that the test may keep back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc

Outcome = quota_pb2.Outcome
UNNAMED = quota_pb2.Refused.LIMIT_UNSPECIFIED


@dataclass
class Hold:
    """One hold and the first answer to its end."""

    account_id: str
    prompt_tokens: int
    covered: int
    most: int  # output tokens, all choices
    end: Outcome | None = None
    unconfirmed: bool = False


class ScriptedQuota(quota_pb2_grpc.QuotaServicer):
    """Speaks quota.proto for one account's money."""

    def __init__(
        self,
        balance: int = 1_000_000,
        window: int = 64,
        lease: float = 30.0,
        interval: float = 0.02,
        features: tuple[str, ...] = (),
    ) -> None:
        """Without features it is a quota of the first version."""
        self.features = features
        self.balance = balance
        self.window = window
        self.lease = lease
        self.interval = interval
        self.holds: dict[bytes, Hold] = {}
        self.reserves: list[quota_pb2.Reserve] = []
        self.settled: list[int] = []  # output tokens, one entry a charge made
        self.progress: list[quota_pb2.Progress] = []  # as told
        self.settles: list[quota_pb2.Settle] = []  # as asked, repeats too
        self.releases: list[quota_pb2.Release] = []
        self.released = 0
        self.operations: list[str] = []
        self.refusals: list[quota_pb2.Refused] = []  # given to the next operations instead of doing them
        self.mute: set[str] = set()  # kinds of operations that are done but never answered
        self.answer_heartbeats = True
        self.sessions: list[bytes] = []
        self.peak_delivered_ahead = 0
        self._streams: list[asyncio.Queue[quota_pb2.SessionResponse | None]] = []

    @property
    def held(self) -> int:
        """Credits in open holds."""
        return sum(hold.prompt_tokens + hold.covered for hold in self.holds.values() if hold.end is None)

    @property
    def unconfirmed(self) -> int:
        """Charges that a lost session would be given back."""
        return sum(hold.unconfirmed for hold in self.holds.values())

    @property
    def open_holds(self) -> int:
        """Holds that have not ended."""
        return sum(hold.end is None for hold in self.holds.values())

    def drain(self) -> None:
        """Tells every session to leave."""
        for queue in self._streams:
            queue.put_nowait(quota_pb2.SessionResponse(draining=quota_pb2.SessionDraining()))

    async def Session(
        self, requests: AsyncIterator[quota_pb2.SessionRequest], context: Any
    ) -> AsyncIterator[quota_pb2.SessionResponse]:
        hello = (await anext(requests)).hello
        self.sessions.append(hello.session_id)
        queue: asyncio.Queue[quota_pb2.SessionResponse | None] = asyncio.Queue()
        self._streams.append(queue)
        reader = asyncio.create_task(self._read(requests, queue))
        welcome = quota_pb2.SessionWelcome(window_tokens=self.window, features=self.features)
        welcome.lease.FromMicroseconds(int(self.lease * 1e6))
        welcome.heartbeat_interval.FromMicroseconds(int(self.interval * 1e6))
        try:
            yield quota_pb2.SessionResponse(welcome=welcome)
            while (response := await queue.get()) is not None:
                yield response
        finally:
            reader.cancel()
            self._streams.remove(queue)

    async def GetUsage(self, request: quota_pb2.GetUsageRequest, context: Any) -> quota_pb2.GetUsageResponse:
        return quota_pb2.GetUsageResponse(balance=self.balance)

    async def _read(self, requests: AsyncIterator[quota_pb2.SessionRequest], queue: asyncio.Queue[Any]) -> None:
        async for request in requests:
            if request.WhichOneof("message") == "heartbeat":
                if self.answer_heartbeats:
                    queue.put_nowait(quota_pb2.SessionResponse(heartbeat=request.heartbeat))
                continue
            outcomes = [self._apply(operation) for operation in request.operations.operations]
            told = [outcome for outcome in outcomes if outcome is not None]
            if told:
                queue.put_nowait(quota_pb2.SessionResponse(outcomes=quota_pb2.Outcomes(outcomes=told)))
        queue.put_nowait(None)

    def _apply(self, operation: quota_pb2.Operation) -> Outcome | None:
        kind = operation.WhichOneof("operation") or ""
        self.operations.append(kind)
        if self.refusals:
            return Outcome(hold_id=operation.hold_id, refused=self.refusals.pop(0))
        work: dict[str, Callable[[quota_pb2.Operation], Outcome]] = {
            "reserve": self._reserve,
            "progress": self._progress,
            "settle": self._settle,
            "release": self._release,
            "confirm": self._confirm,
        }
        outcome = work[kind](operation)
        return None if kind in self.mute else outcome

    def _reserve(self, operation: quota_pb2.Operation) -> Outcome:
        reserve = operation.reserve
        hold = self.holds.get(operation.hold_id)
        if hold is None:
            self.reserves.append(reserve)
            spare = self.balance - self.held - reserve.prompt_tokens
            if spare < 1:
                refused = quota_pb2.Refused(reason=quota_pb2.Refused.REASON_INSUFFICIENT_CREDITS)
                return Outcome(hold_id=operation.hold_id, refused=refused)
            most = min(spare, reserve.max_tokens * reserve.choices)
            hold = Hold(reserve.account_id, reserve.prompt_tokens, min(self.window, most), most)
            self.holds[operation.hold_id] = hold
        if hold.end is not None:
            return _ended(operation.hold_id)
        reserved = quota_pb2.Reserved(
            max_tokens=max(1, hold.most // reserve.choices), covered_tokens=hold.covered, window=_window()
        )
        return Outcome(hold_id=operation.hold_id, reserved=reserved)

    def _progress(self, operation: quota_pb2.Operation) -> Outcome:
        hold = self.holds[operation.hold_id]
        if hold.end is not None:
            return _ended(operation.hold_id)
        progress = operation.progress
        self.progress.append(progress)
        if progress.prompt_tokens:
            assert "prompt_slide" in self.features
            free = max(0, self.balance - self.held)
            hold.prompt_tokens += min(free, max(0, progress.prompt_tokens - hold.prompt_tokens))
        wanted = max(progress.delivered_tokens, progress.generated_tokens) + self.window
        more = min(wanted - hold.covered, self.balance - self.held)
        hold.covered += max(0, more)
        progressed = quota_pb2.Progressed(covered_tokens=hold.covered, limited=hold.covered < wanted)
        return Outcome(hold_id=operation.hold_id, progressed=progressed)

    def _settle(self, operation: quota_pb2.Operation) -> Outcome:
        hold = self.holds[operation.hold_id]
        settle = operation.settle
        self.settles.append(settle)
        assert not settle.unconfirmed or "confirm" in self.features
        hold.unconfirmed = settle.unconfirmed and (hold.end is None or hold.unconfirmed)
        if hold.end is None:
            tokens = settle.output_tokens
            assert tokens <= hold.covered
            due = (settle.prompt_tokens or hold.prompt_tokens) + tokens
            credits = min(due, hold.prompt_tokens + hold.covered)
            self.balance -= credits
            self.settled.append(tokens)
            hold.end = Outcome(hold_id=operation.hold_id, settled=quota_pb2.Settled(credits=credits))
        return hold.end

    def _confirm(self, operation: quota_pb2.Operation) -> Outcome:
        assert "confirm" in self.features
        self.holds[operation.hold_id].unconfirmed = False
        return Outcome(hold_id=operation.hold_id, confirmed=quota_pb2.Confirmed())

    def _release(self, operation: quota_pb2.Operation) -> Outcome:
        self.releases.append(operation.release)
        hold = self.holds.setdefault(operation.hold_id, Hold("", 0, 0, 0))
        if hold.end is None:
            self.released += 1
            hold.end = Outcome(hold_id=operation.hold_id, released=quota_pb2.Released())
        return hold.end


def refused(
    reason: Any, retry_after: float = 0.0, limit: int = 60, of: quota_pb2.Refused.Limit = UNNAMED
) -> quota_pb2.Refused:
    """A refusal with a window of `limit` requests; `of` names the limit, as quotas of the first version do not."""
    message = quota_pb2.Refused(reason=reason, window=quota_pb2.RateWindow(limit=limit), limit=of)
    message.retry_after.FromMicroseconds(int(retry_after * 1e6))
    return message


def _window() -> quota_pb2.RateWindow:
    window = quota_pb2.RateWindow(limit=60, remaining=59)
    window.reset_after.FromSeconds(60)
    return window


def _ended(hold_id: bytes) -> Outcome:
    return Outcome(hold_id=hold_id, refused=quota_pb2.Refused(reason=quota_pb2.Refused.REASON_HOLD_ENDED))
