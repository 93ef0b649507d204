"""What the edge remembers of quota's refusals, so that a limited or broke account cannot make inference work.

Every reservation needs a prompt that inference has rendered and counted. A refusal that must come again is therefore
given here, before anything is asked of anybody (docs/money.md).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from servicekit.clock import Clock
from services.edge.http.errors import ApiError
from services.edge.peers.auth.principals import Principal
from services.edge.serving.answer import RateWindow

REMEMBERED = 50_000  # accounts and keys, the least recently refused forgotten first
MINUTE = 60.0
DENIALS = 10  # times its limit that an account may be denied within a minute before the edge answers itself


@dataclass(slots=True)
class _Full:
    """A full window: until when, and what was said."""

    until: float  # monotonic seconds
    version: int  # of the limits that were in force
    window: RateWindow
    empty_at: float  # monotonic seconds: when the window is empty if nothing comes


@dataclass(slots=True)
class _Denied:
    """Denials since the minute began."""

    since: float
    count: int


class Admission:
    """Answers 429 itself until the moment that quota told, never longer: it counts from *sending* the reservation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full: OrderedDict[str, _Full] = OrderedDict()
        self._denied: OrderedDict[str, _Denied] = OrderedDict()

    def check(self, principal: Principal) -> None:
        """Raises ApiError 429 when quota is known to refuse, or was made to refuse too often."""
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
            raise ApiError.rate_limited(denied.since + MINUTE - now)

    def denied(self, principal: Principal) -> None:
        """Quota refused for want of credits or a place in the window."""
        now = self._clock.monotonic()
        denied = self._denied.get(principal.account_id)
        if denied is None or now >= denied.since + MINUTE:
            denied = _Denied(now, 0)
        denied.count += 1
        _remember(self._denied, principal.account_id, denied)

    def full(self, principal: Principal, sent_at: float, retry_after: float, window: RateWindow) -> None:
        """Quota refused a reservation sent at sent_at (monotonic): one more is admitted retry_after seconds later.

        The refusal does not name whose window it is. It is the account's when the key has none or another limit;
        when both limits are the same number only the key is remembered, which refuses nobody wrongly.
        """
        own = principal.key_requests_per_minute
        of_key = own is not None and window.limit == own
        name = principal.key_id if of_key else principal.account_id
        version = principal.key_version if of_key else principal.account_version
        _remember(self._full, name, _Full(sent_at + retry_after, version, window, sent_at + window.reset_after))

    def _check_full(self, name: str, version: int, now: float) -> None:
        full = self._full.get(name)
        if full is None:
            return
        if now >= full.until or version != full.version:
            del self._full[name]
            return
        left = full.until - now
        window = RateWindow(full.window.limit, 0, max(left, full.empty_at - now))
        raise ApiError.rate_limited(left, window)


def _remember(table: OrderedDict[str, _Full] | OrderedDict[str, _Denied], name: str, value: _Full | _Denied) -> None:
    table[name] = value  # type: ignore[assignment]
    table.move_to_end(name)
    if len(table) > REMEMBERED:
        table.popitem(last=False)
