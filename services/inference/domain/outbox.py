"""What a session has yet to say, in order: the writer takes all that queued, and slow reading makes engines wait."""

from __future__ import annotations

import asyncio

from services.inference.domain.engine import Event
from services.inference.domain.load import Load

LANE_LIMIT = 64  # events that one generation may have unsent before its engine is no longer read
MESSAGE_LIMIT = 512  # events in one message: with 20 top logprobs each still under a fifth of gRPC's 4 MiB


class Outbox:
    """Events of many generations for one reader; no timer: what is there when the writer is free goes."""

    def __init__(self) -> None:
        self._events: list[tuple[Lane, Event]] = []
        self._filled = asyncio.Event()
        self.load: Load | None = None  # only the newest is worth sending
        self.models_changed = False

    def lane(self, generation_id: int) -> Lane:
        """One generation's own way into the box."""
        return Lane(self, generation_id)

    def put(self, lane: Lane, event: Event) -> None:
        """Appends; the lane's bound is enforced by Lane.room, so that nothing an engine gave is ever lost."""
        self._events.append((lane, event))
        lane.unsent += 1
        self._filled.set()

    def wake(self) -> None:
        """Makes the writer look again: load was set, the replica drains, or the session ends."""
        self._filled.set()

    async def filled(self) -> None:
        """Waits until there may be something to say; then whoever writes takes all of it."""
        await self._filled.wait()
        self._filled.clear()

    def take(self) -> list[tuple[int, Event]]:
        """What has queued, at most MESSAGE_LIMIT events; their lanes have room again."""
        batch = self._events[:MESSAGE_LIMIT]
        del self._events[:MESSAGE_LIMIT]
        for lane, _ in batch:
            lane.sent()
        return [(lane.generation_id, event) for lane, event in batch]


class Lane:
    """One generation's bounded share of an outbox."""

    __slots__ = ("_outbox", "_room", "generation_id", "unsent")

    def __init__(self, outbox: Outbox, generation_id: int) -> None:
        self._outbox = outbox
        self._room = asyncio.Event()
        self.generation_id = generation_id
        self.unsent = 0

    def put(self, event: Event) -> None:
        """Says one event, without waiting."""
        self._outbox.put(self, event)

    async def room(self) -> None:
        """Waits while LANE_LIMIT events or more are unsent."""
        while self.unsent >= LANE_LIMIT:
            self._room.clear()
            await self._room.wait()

    def sent(self) -> None:
        """Called when the writer took one of this lane's events."""
        self.unsent -= 1
        self._room.set()
