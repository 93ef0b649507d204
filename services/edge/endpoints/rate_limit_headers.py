"""The rate-window headers, also of answers that asked quota nothing."""

from __future__ import annotations

from collections import OrderedDict

from servicekit.clock import Clock
from services.edge.http.exchange import Header
from services.edge.peers.quota.rate_window import RateWindow

MAX_ACCOUNTS = 10_000


class WindowMemory:
    """What quota last said of each account's window, to this worker.

    An inference request that is refused before quota is asked (400, 404, …) did not change the window, so the last word
    still stands, grown older; nobody is admitted or refused by it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: OrderedDict[str, tuple[float, RateWindow]] = OrderedDict()

    def remember(self, account_id: str, window: RateWindow) -> None:
        """Takes down quota's word."""
        self._last[account_id] = (self._clock.monotonic(), window)
        self._last.move_to_end(account_id)
        if len(self._last) > MAX_ACCOUNTS:
            self._last.popitem(last=False)

    def recall(self, account_id: str, limit: int) -> RateWindow:
        """The last word as of now; an empty window for an account that was not heard of, or not for a minute."""
        told = self._last.get(account_id)
        if told is None:
            return RateWindow(limit, limit, 0.0)
        at, window = told
        left = window.reset_after - (self._clock.monotonic() - at)
        if left <= 0:
            return RateWindow(window.limit, window.limit, 0.0)
        return RateWindow(window.limit, window.remaining, left)


def window_headers(window: RateWindow) -> list[Header]:
    """OpenAI's headers; the reset is a duration as OpenAI writes it ("59.214s")."""
    return [
        (b"x-ratelimit-limit-requests", b"%d" % window.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % window.remaining),
        (b"x-ratelimit-reset-requests", f"{window.reset_after:.3f}s".encode()),
    ]
