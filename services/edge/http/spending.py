"""Rejected work is charged to its sender, in seconds of CPU; senders that spend too much are refused (docs/wire.md)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from servicekit.clock import Clock
from services.edge.http.errors import ApiError
from services.edge.http.limited import SPENDING
from services.edge.http.senders import Sender

MINUTE = 60.0
MAX_SENDERS = 10_000  # of each kind; the one that was charged longest ago is forgotten first
MAX_DEBT = 2.0  # times the allowance that is remembered, so that nobody is refused for longer than two minutes


@dataclass(slots=True)
class _Account:
    """What a sender has spent, as of a moment."""

    spent: float = 0.0  # seconds of CPU
    at: float = 0.0  # monotonic seconds
    refused: bool = False  # since it reached the allowance, until all of it has drained


class Spending:
    """`allowance` seconds of CPU a minute for each sender. What was spent drains evenly.

    Accounts and source addresses are kept apart: addresses cost nothing, and must not push accounts out.
    """

    def __init__(self, clock: Clock, allowance: float = 2.0, *, max_senders: int = MAX_SENDERS) -> None:
        self._clock = clock
        self._allowance = allowance
        self._rate = allowance / MINUTE
        self._max_senders = max_senders
        self._spent: dict[str, OrderedDict[str, _Account]] = {"account": OrderedDict(), "source": OrderedDict()}

    def charge(self, sender: Sender, seconds: float) -> None:
        """Adds the CPU time of a request that was rejected. Only what was answered 4xx belongs here."""
        if seconds <= 0:
            return
        table, now = self._spent[sender.kind], self._clock.monotonic()
        account = table.pop(sender.name, None) or _Account(at=now)
        account.spent = min(self._left(account, now) + seconds, MAX_DEBT * self._allowance)
        account.at = now
        account.refused = account.refused or account.spent >= self._allowance
        table[sender.name] = account
        if len(table) > self._max_senders:
            table.popitem(last=False)

    def charge_account(self, account_id: str, seconds: float) -> None:
        """The same for an account."""
        self.charge(Sender.account(account_id), seconds)

    def refused_until(self, sender: Sender) -> float | None:
        """The monotonic time from which the sender's requests are taken again; None when they are taken now."""
        table = self._spent[sender.kind]
        account = table.get(sender.name) if table else None
        if account is None:
            return None
        now = self._clock.monotonic()
        left = self._left(account, now)
        if left <= 0:
            del table[sender.name]
            return None
        return now + left / self._rate if account.refused else None

    def check(self, sender: Sender) -> None:
        """Raises ApiError 429 `refused_too_often` with the time until the sender is served again."""
        until = self.refused_until(sender)
        if until is not None:
            SPENDING.inc()
            raise ApiError.refused_too_often(until - self._clock.monotonic())

    def _left(self, account: _Account, now: float) -> float:
        return max(0.0, account.spent - (now - account.at) * self._rate)
