"""What a session has yet to send, in order: the writer takes all that queued, and a slow reader pauses engines."""

from __future__ import annotations

import asyncio

from services.inference.domain.engine import Event, Source
from services.inference.domain.load import Load

LANE_LIMIT = 64  # events that one generation may have unsent before its engine is no longer read …
LANE_RESUMES = 32  # … and with which it is read again
MESSAGE_LIMIT = 512  # events in one message: with 20 top logprobs each still under a fifth of gRPC's 4 MiB


class Outbox:
    """Events of many generations for one reader; no timer: what is there when the writer is free goes.

    The writer is woken one iteration of the loop after the first event, so that what follows at once goes with it: what
    other sockets brought, and the end of an answer that came whole.
    """

    def __init__(self) -> None:
        self._events: list[tuple[Lane, Event]] = []
        self._filled = asyncio.Event()
        self._waking = False  # events are there, and the writer has not looked since
        self.load: Load | None = None  # only the newest is worth sending
        self.models_changed = False

    def lane(self, generation_id: int) -> Lane:
        """One generation's own way into the box."""
        return Lane(self, generation_id)

    def put(self, lane: Lane, event: Event) -> None:
        """Appends, also what a full lane's engine had under way, so that nothing an engine gave is ever lost."""
        self._events.append((lane, event))
        if not self._waking:
            self._waking = True
            asyncio.get_running_loop().call_soon(self.wake)

    def wake(self) -> None:
        """Makes the writer look: there are events, load was set, the replica drains, or the session ends."""
        self._filled.set()

    async def filled(self) -> None:
        """Waits until there may be something to send; then the writer takes all of it."""
        await self._filled.wait()
        self._filled.clear()
        self._waking = False

    def take(self) -> list[tuple[int, Event]]:
        """What has queued, at most MESSAGE_LIMIT events; their lanes have room again."""
        batch = self._events[:MESSAGE_LIMIT]
        del self._events[:MESSAGE_LIMIT]
        for lane, _ in batch:
            lane.sent()
        return [(lane.generation_id, event) for lane, event in batch]


class Lane:
    """One generation's share of an outbox, bounded by pausing what feeds it. Implements Outlet."""

    __slots__ = ("_outbox", "_sources", "full", "generation_id", "unsent")

    def __init__(self, outbox: Outbox, generation_id: int) -> None:
        self._outbox = outbox
        self._sources: list[Source] = []  # one for each answer that the engine reads at present
        self.generation_id = generation_id
        self.unsent = 0
        self.full = False

    def put(self, event: Event) -> None:
        """Sends one event, without waiting."""
        self._outbox.put(self, event)
        self.unsent += 1
        if self.unsent >= LANE_LIMIT and not self.full:
            self.full = True
            for source in self._sources:
                source.pause()

    def sent(self) -> None:
        """Called when the writer took one of this lane's events."""
        self.unsent -= 1
        if self.full and self.unsent <= LANE_RESUMES:
            self.full = False
            for source in self._sources:
                source.resume()

    def attach(self, source: Source) -> None:
        """See Sink."""
        self._sources.append(source)
        if self.full:
            source.pause()

    def detach(self, source: Source) -> None:
        """See Sink."""
        self._sources.remove(source)
