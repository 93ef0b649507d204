"""How long one edge worker waits for its peers, and between its tries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, the same in every deployment. They are arguments so that tests need not wait."""

    down_timeout: float = 1.0  # quota without a stream: from then on requests fail at once instead of waiting
    reserve_timeout: float = 0.9  # quota has not answered: the client has its 503 within a second (G7)
    settle_timeout: float = 2.0  # an answer's end has waited for its charge; the replay goes on without it
    reopen_timeout: float = 2.0  # a request has waited for some replica of inference to come back
    overdue_after: float = 5.0  # an operation that quota left unanswered is sent again on the same stream
    return_after: float = 5.0  # away from its home replica, so that one that fails again and again is not asked often


DEFAULT_TIMINGS = Timings()
