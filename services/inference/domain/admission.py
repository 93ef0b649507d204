"""Who may generate now: an engine's slots, a bounded queue before them, and accounts taking turns in it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
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
    by single ones.
    """

    def __init__(
        self, slots: int | Callable[[], int], queue_limit: int, changed: Callable[[], None] = lambda: None
    ) -> None:
        """`slots`: how many there are, or what tells how many there are now."""
        self._slots: Callable[[], int] = slots if callable(slots) else lambda: slots
        self._used = 0
        self._queue_limit = queue_limit
        self._queues: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self._changed = changed
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
        if self._queues or not self._fits(ticket):
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
        while self._queues:
            account, queue = next(iter(self._queues.items()))
            ticket = queue[0]
            if not self._fits(ticket):
                return
            self._forget(ticket)
            self._to_the_end(account)
            self._take(ticket)

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
        ticket.held = True
        if not ticket.granted.done():  # cancelled, but its owner has not run yet: _leave gives the slots back
            ticket.granted.set_result(None)
