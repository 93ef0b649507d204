"""What an attack is: its name, what it sends, and what the attacker may get for it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.hostile.wire import ANSWER_TIMEOUT, Target, exchange

REFUSED = ("400", "401", "402", "403", "404", "405", "408", "409", "413", "415", "429", "431", "501", "505", "closed")
"""How a refusal may look from outside. A connection that is closed without a word counts: it was not served."""


@dataclass
class Attacker:
    """Who attacks, for how long, and what came of it so far."""

    target: Target
    keys: Sequence[str]  # of accounts without credits
    rich: str  # a key with credits and hardly a rate limit
    sources: Sequence[str]  # addresses of loopback; the victim is at 127.0.0.1
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._ends = asyncio.get_running_loop().time() + self.seconds
        self._keys = itertools.cycle(self.keys)
        self._sources = itertools.cycle(self.sources)

    @property
    def poor(self) -> str:
        """The next key without credits: a few accounts take turns, so that one's bounds are not all that helps."""
        return next(self._keys)

    @property
    def source(self) -> str:
        """The next address."""
        return next(self._sources)

    @property
    def left(self) -> float:
        """Seconds until the attack is over."""
        return self._ends - asyncio.get_running_loop().time()

    async def send(self, data: bytes, source: str | None = None) -> None:
        """One request on a connection of its own, counted by what came back."""
        self.outcomes[await exchange(self.target, source or self.source, data)] += 1

    async def flood(self, *requests: bytes, connections: int, most: int = 100_000) -> None:
        """Sends these in turn from so many connections at once, until the time is over or `most` were sent."""
        await self.repeat(lambda number: self.send(requests[number % len(requests)]), connections, most)

    async def repeat(self, once: Callable[[int], Awaitable[None]], at_once: int, most: int = 100_000) -> None:
        """Calls `once` with 0, 1, … from so many tasks, until the time is over or `most` calls were made."""
        numbers = iter(range(most))

        async def worker() -> None:
            for number in numbers:
                await once(number)
                if self.left <= 0:
                    return

        async with asyncio.timeout(self.seconds + 2 * ANSWER_TIMEOUT):
            await asyncio.gather(*(worker() for _ in range(at_once)))


@dataclass(frozen=True)
class Attack:
    """One way to hurt others. `served`: statuses that are right besides refusals, where the request itself is good."""

    name: str
    case: str  # of docs/hostile.md
    run: Callable[[Attacker], Awaitable[None]]
    served: tuple[str, ...] = ()
    short: bool = True  # part of `make test`

    def unexpected(self, outcomes: Counter[str]) -> dict[str, int]:
        """Outcomes that are neither a refusal nor `served`: above all a 5xx."""
        allowed = (*REFUSED, *self.served)
        return {what: count for what, count in outcomes.items() if not any(_is(what, each) for each in allowed)}

    def refused(self, outcomes: Counter[str]) -> int:
        """Requests that were refused."""
        return sum(count for what, count in outcomes.items() if any(_is(what, each) for each in REFUSED))


def _is(what: str, allowed: str) -> bool:
    """Whether an outcome is the allowed one: "429 rate_limited" is a "429"."""
    return what == allowed or what.split()[0] == allowed
