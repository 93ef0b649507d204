"""What the edge remembers of quota's refusals, so that a limited or broke account cannot make inference work.

Every reservation needs a prompt that inference has rendered and counted. A refusal that would come again is therefore
given here, before any service is asked (docs/money.md).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from common.reasons import Reason
from servicekit.clock import Clock
from services.edge.peers.auth.principals import Principal
from services.edge.peers.errors import Refused
from services.edge.peers.quota.rate_window import Limit, RateWindow

REMEMBERED = 50_000  # accounts and keys, the least recently refused forgotten first
MINUTE = 60.0
DENIALS = 10  # times its limit that an account may be denied within a minute before the edge answers itself


@dataclass(slots=True)
class _Full:
    """A full window: until when, and where the account stood."""

    until: float  # monotonic seconds
    version: int  # of the limits that were in force
    limit: Limit
    window: RateWindow
    empty_at: float  # monotonic seconds: when the window is empty if nothing comes


@dataclass(slots=True)
class _Denied:
    """Denials since the minute began."""

    since: float
    count: int


class RecentRefusals:
    """Refuses by itself until the moment that quota gave, never longer: it counts from *sending* the reservation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full: OrderedDict[str, _Full] = OrderedDict()
        self._denied: OrderedDict[str, _Denied] = OrderedDict()

    def check(self, principal: Principal) -> None:
        """Raises Refused when quota is known to refuse, or was made to refuse too often."""
        if not self._full and not self._denied:
            return
        now = self._clock.monotonic()
        self._check_full(principal.account_id, principal.account_version, now)
        self._check_full(principal.key_id, principal.key_version, now)
        denied = self._denied.get(principal.account_id)
        if denied is None:
            return
        if now >= denied.since + MINUTE:
            del self._denied[principal.account_id]
        elif denied.count >= DENIALS * principal.requests_per_minute:
            raise Refused(Reason.RATE_LIMITED, retry_after=denied.since + MINUTE - now)

    def denied(self, principal: Principal) -> None:
        """Quota refused for want of credits or a place in the window."""
        now = self._clock.monotonic()
        denied = self._denied.get(principal.account_id)
        if denied is None or now >= denied.since + MINUTE:
            denied = _Denied(now, 0)
        denied.count += 1
        _remember(self._denied, principal.account_id, denied)

    def full(self, principal: Principal, sent_at: float, refused: Refused) -> None:
        """Quota refused a reservation sent at sent_at (monotonic), and admits one more `retry_after` seconds later."""
        window, retry_after = refused.window, refused.retry_after or 0.0
        if window is None:
            return
        limit = refused.limit or _guess(principal, window)
        of_key = limit is Limit.KEY
        name = principal.key_id if of_key else principal.account_id
        version = principal.key_version if of_key else principal.account_version
        full = _Full(sent_at + retry_after, version, limit, window, sent_at + window.reset_after)
        _remember(self._full, name, full)

    def _check_full(self, name: str, version: int, now: float) -> None:
        full = self._full.get(name)
        if full is None:
            return
        if now >= full.until or version != full.version:
            del self._full[name]
            return
        left = full.until - now
        window = RateWindow(full.window.limit, 0, max(left, full.empty_at - now))
        raise Refused(Reason.RATE_LIMITED, limit=full.limit, retry_after=left, window=window)


def _guess(principal: Principal, window: RateWindow) -> Limit:
    """Whose window it is, of a replica that does not say: the account's when the key has none or another limit.

    When both limits are the same number only the key is remembered, which refuses no other key wrongly.
    """
    own = principal.key_requests_per_minute
    return Limit.KEY if own is not None and window.limit == own else Limit.ACCOUNT


def _remember(table: OrderedDict[str, _Full] | OrderedDict[str, _Denied], name: str, value: _Full | _Denied) -> None:
    table[name] = value  # type: ignore[assignment]
    table.move_to_end(name)
    if len(table) > REMEMBERED:
        table.popitem(last=False)
