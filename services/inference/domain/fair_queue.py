"""Who may generate now: an engine's slots, a bounded queue before them, and accounts taking turns in it."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.inference.domain.errors import Overloaded

RETRY_AFTER = 1.0  # seconds; a queue of short answers moves within one


@dataclass(slots=True, eq=False)
class Ticket:
    """One generation's place in the queue and, once granted, its slots."""

    account: str
    weight: int
    granted: asyncio.Future[None]
    held: bool = False


class Admission:
    """Grants an engine's slots; among waiting accounts each has its turn, so one's burst cannot starve another.

    Accounts stand in a line. One goes to its end whenever a generation of it begins or ends, so an account that had its
    share while another waited comes after that: however much one sends, another's request waits for at most one
    generation more than without it. Within an account the order is first come, first served. The ticket whose turn it
    is waits for all the slots it needs and no other account overtakes it, so a request for many choices is not starved
    by single ones. An account that holds as many slots as one may is passed over.
    """

    def __init__(
        self,
        slots: int | Callable[[], int],
        queue_limit: int,
        changed: Callable[[], None] = lambda: None,
        *,
        most_of_one: int | None = None,
    ) -> None:
        """`slots`: how many there are, or what tells how many there are now. `most_of_one`: tickets of one account that
        hold slots at a time; None: no bound."""
        self._slots: Callable[[], int] = slots if callable(slots) else lambda: slots
        self._used = 0
        self._queue_limit = queue_limit
        self._queues: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self._changed = changed
        self._most_of_one = most_of_one
        self._running_of: Counter[str] = Counter()
        self.waiting = 0
        self.running = 0

    def check(self) -> None:
        """Raises Overloaded when one more could not even wait."""
        if self.waiting >= self._queue_limit:
            raise Overloaded(f"{self.waiting} requests are waiting for the engine already", retry_after=RETRY_AFTER)

    @asynccontextmanager
    async def slot(self, account: str, choices: int) -> AsyncIterator[None]:
        """Waits for the slots of this many choices, at most all there are. Raises Overloaded when the queue is full."""
        ticket = self._enter(account, choices)
        try:
            await ticket.granted
            yield
        finally:
            self._leave(ticket)

    def _enter(self, account: str, weight: int) -> Ticket:
        ticket = Ticket(account, weight, asyncio.get_running_loop().create_future())
        if self._next() is not None or not self._may_run(account) or not self._fits(ticket):
            self.check()
            self._queues.setdefault(account, deque()).append(ticket)
            self.waiting += 1
        else:
            self._take(ticket)
        self._changed()
        return ticket

    def _leave(self, ticket: Ticket) -> None:
        if ticket.held:
            self._used -= ticket.weight
            self.running -= 1
            self._running_of[ticket.account] -= 1
            if not self._running_of[ticket.account]:
                del self._running_of[ticket.account]
            self._to_the_end(ticket.account)
        else:
            self._forget(ticket)
        self._grant()
        self._changed()

    def _forget(self, ticket: Ticket) -> None:
        queue = self._queues[ticket.account]
        queue.remove(ticket)
        self.waiting -= 1
        if not queue:
            del self._queues[ticket.account]

    def _grant(self) -> None:
        while (account := self._next()) is not None:
            ticket = self._queues[account][0]
            if not self._fits(ticket):
                return
            self._forget(ticket)
            self._to_the_end(account)
            self._take(ticket)

    def _next(self) -> str | None:
        """The account whose turn it is, None when nobody waits who may run."""
        return next((account for account in self._queues if self._may_run(account)), None)

    def _may_run(self, account: str) -> bool:
        return self._most_of_one is None or self._running_of[account] < self._most_of_one

    def _to_the_end(self, account: str) -> None:
        if account in self._queues:
            self._queues.move_to_end(account)

    def _fits(self, ticket: Ticket) -> bool:
        slots = self._slots()
        return self._used + min(ticket.weight, slots) <= slots

    def _take(self, ticket: Ticket) -> None:
        ticket.weight = min(ticket.weight, max(1, self._slots()))
        self._used += ticket.weight
        self.running += 1
        self._running_of[ticket.account] += 1
        ticket.held = True
        if not ticket.granted.done():  # cancelled, but its owner has not run yet: _leave gives the slots back
            ticket.granted.set_result(None)
