"""What an outage says in the log: a line when it begins, one when it ends, and one in ten seconds between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from servicekit.clock import SystemClock

REPEAT = 10.0  # seconds between two lines of one outage
CALM = 1.0  # seconds without a failure after which a success ends an outage: one that flickers is one outage


class OutageLog:
    """One thing that may be away: a database, a peer. Not safe for several threads at once; the cost is a line.

    `logger` takes `event` at the level warning for failures, with `failures` since the line before, and `ended` at info
    with `seconds` and the `failures` of the whole outage. `now` is monotonic seconds.
    """

    def __init__(
        self, logger: Any, event: str, ended: str, *, calm: float = CALM, now: Callable[[], float] | None = None
    ) -> None:
        self._log = logger
        self._calm = calm
        self._event = event
        self._ended = ended
        self._now = now or SystemClock().monotonic
        self._began: float | None = None
        self._last_failure = self._last_line = float("-inf")
        self._failures = self._unsaid = 0

    @property
    def lasting(self) -> bool:
        """True from the first failure to the success that ends the outage. Cheap enough for each success to ask."""
        return self._began is not None

    def failed(self, **fields: object) -> None:
        """Something failed because the thing is away; `fields` say how, without content or secrets."""
        now = self._now()
        if self._began is None:
            self._began, self._failures, self._unsaid = now, 0, 0
            self._last_line = float("-inf")
        self._last_failure = now
        self._failures += 1
        self._unsaid += 1
        if now - self._last_line >= REPEAT:
            self._log.warning(self._event, failures=self._unsaid, lasting=round(now - self._began, 1), **fields)
            self._last_line, self._unsaid = now, 0

    def succeeded(self, **fields: object) -> None:
        """It answered."""
        if self._began is None:
            return
        now = self._now()
        if now - self._last_failure < self._calm:
            return
        self._log.info(self._ended, seconds=round(now - self._began, 1), failures=self._failures, **fields)
        self._began = None
