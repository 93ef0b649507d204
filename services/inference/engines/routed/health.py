"""A target's health as each account meets it: what one account's requests alone bring about keeps no other one away.

A request can make a server fail that works for every other. So failures in a row open the circuit for the account that
met them, and for all only when several accounts met them, or when the target cannot be reached at all.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from servicekit.clock import Clock
from services.inference.engines.routed.breaker import FAILURES, Breaker, State

MAX_ACCOUNTS = 1024  # that are remembered; the one that failed longest ago is forgotten first
MIN_OTHERS = 2  # failures of other accounts than the one that failed most, before the target is taken to be ill


class Health:
    """The circuit for all and one for each account that met failures. An empty account is nobody in particular."""

    def __init__(self, clock: Clock, random: Callable[[], float]) -> None:
        """`random` gives numbers from 0 to 1."""
        self._clock = clock
        self._random = random
        self._all = Breaker(clock, random)
        self._own: OrderedDict[str, Breaker] = OrderedDict()
        self._met: Counter[str] = Counter()  # failures in a row, by account
        self._last = ""

    @property
    def state(self) -> State:
        """For all; open too when the account that failed last has nothing but failures."""
        own = self._own.get(self._last)
        return State.OPEN if own is not None and own.state is State.OPEN else self._all.state

    def open(self, account: str = "") -> bool:
        """Whether this account's requests leave the target alone."""
        return any(breaker.state is State.OPEN for breaker in self._of(account))

    def allows(self, account: str) -> bool:
        """Whether a request of this account may be sent now."""
        return all(breaker.allows for breaker in self._of(account))

    def enter(self, account: str) -> list[Breaker]:
        """A request is sent. What it probes must be left whatever becomes of it."""
        return [breaker for breaker in self._of(account) if breaker.enter()]

    def succeeded(self, account: str) -> None:
        """The target answered a request of this account."""
        for breaker in self._of(account):
            breaker.succeeded()
        own = self._own.get(account)
        if own is not None and own.state is State.CLOSED:
            del self._own[account]
        self._met.clear()

    def failed(self, account: str, *, reached: bool) -> None:
        """The target did not answer a request of this account as it should. `reached`: it was there."""
        if not account:
            self._all.failed()
            return
        self._last = account
        self._breaker(account).failed()
        self._met[account] += 1
        if not reached or self._all.state is State.HALF_OPEN:
            self._all.failed()
        elif self._met.total() >= FAILURES and self._met.total() - max(self._met.values()) >= MIN_OTHERS:
            self._all.trip()

    def _breaker(self, account: str) -> Breaker:
        breaker = self._own.setdefault(account, Breaker(self._clock, self._random))
        self._own.move_to_end(account)
        if len(self._own) > MAX_ACCOUNTS:
            forgotten, _ = self._own.popitem(last=False)
            self._met.pop(forgotten, None)
        return breaker

    def _of(self, account: str) -> list[Breaker]:
        own = self._own.get(account)
        return [self._all] if own is None else [self._all, own]
