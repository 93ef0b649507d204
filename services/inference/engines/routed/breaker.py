"""A circuit breaker: a target that fails is left alone for a while, then tried with one request at a time."""

from __future__ import annotations

import enum
from collections.abc import Callable

from servicekit.clock import Clock

FAILURES = 5  # in a row that open it; more than one request can cause alone (budget.py)
FIRST_PAUSE = 1.0  # seconds; doubled each time a probe fails
LONGEST_PAUSE = 4.0  # seconds: traffic returns within 5 of a target's return, its first token included
JITTER = 0.25  # of a pause is at random, so that replicas do not probe together


class State(enum.Enum):
    """As metrics tell it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """closed → open after FAILURES in a row → half open when the pause is over → closed by one success."""

    def __init__(self, clock: Clock, random: Callable[[], float]) -> None:
        """`random` gives numbers from 0 to 1."""
        self._clock = clock
        self._random = random
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._until: float | None = None  # None: closed
        self._probing = False

    @property
    def state(self) -> State:
        """As it is now: an open one becomes half open by itself."""
        if self._until is None:
            return State.CLOSED
        return State.HALF_OPEN if self._clock.monotonic() >= self._until else State.OPEN

    @property
    def allows(self) -> bool:
        """Whether a request may be sent: always when closed, one at a time when half open."""
        state = self.state
        return state is State.CLOSED or (state is State.HALF_OPEN and not self._probing)

    def enter(self) -> bool:
        """A request is sent. True: it is the probe, and leave() must follow whatever becomes of it."""
        if self.state is not State.HALF_OPEN:
            return False
        self._probing = True
        return True

    def leave(self) -> None:
        """The probe has ended, perhaps without a verdict."""
        self._probing = False

    def succeeded(self) -> None:
        """A target answered. An open circuit is closed only by a probe: what answers late began before."""
        if self.state is not State.OPEN:
            self._failures, self._pause, self._until = 0, FIRST_PAUSE, None

    def failed(self) -> None:
        """A target did not answer as it should."""
        state = self.state
        if state is State.OPEN:
            return
        self._failures += 1
        if state is State.HALF_OPEN:
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        elif self._failures < FAILURES:
            return
        self._open()

    def trip(self) -> None:
        """Opens it, whatever was counted here."""
        if self.state is not State.OPEN:
            self._open()

    def _open(self) -> None:
        self._until = self._clock.monotonic() + self._pause * (1 - JITTER * self._random())
