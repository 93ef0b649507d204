"""Edge sessions: how long their silence is trusted, and the writing down of their heartbeats."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from services.auth.domain.errors import SessionLapsed
from services.auth.domain.store import ChangeStore

# Between two writes of heartbeats; so a process writes at most a hundred times a second, however many edges beat.
WRITE_GAP = 0.01  # seconds


@dataclass(frozen=True)
class SessionPolicy:
    """Times of the revocation promise (G6), in seconds."""

    ttl: float = 5.0
    # How often the tables are looked at for what other replicas did.
    poll_interval: float = 0.05

    @property
    def heartbeat_interval(self) -> float:
        """A quarter of the ttl, so that three heartbeats may be lost or late."""
        return self.ttl / 4

    @property
    def ack_timeout(self) -> float:
        """What an edge that is alive may take to act upon a change before its stream is cut."""
        return self.ttl / 5

    @property
    def confirmation_timeout(self) -> float:
        """After this an unconfirmed change is an error; a sick session has been cut and has lapsed long before."""
        return 2 * self.ttl + self.ack_timeout


class Heartbeats:
    """Writes what the streams of this process heard, many sessions in one transaction.

    record() returns after the commit, and only then may a heartbeat be answered: an edge counts its trust from sending
    the heartbeat that was answered last, so an answered one must already have prolonged the session for every replica.
    """

    def __init__(self, store: ChangeStore, policy: SessionPolicy) -> None:
        self._store = store
        self._policy = policy
        self._waiting: dict[str, int] = {}
        self._written: asyncio.Future[frozenset[str]] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def record(self, session_id: str, acknowledged: int) -> None:
        """Notes that a session is alive and has every change up to `acknowledged`.

        Raises SessionLapsed when auth has stopped waiting for it, DatabaseUnavailable when nothing could be written.
        """
        self._waiting[session_id] = max(acknowledged, self._waiting.get(session_id, 0))
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        written = self._written
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        # The write belongs to all sessions in it, so one stream's end must not cancel it.
        alive = await asyncio.shield(written)
        if session_id not in alive:
            raise SessionLapsed("this session was silent for too long; open a new stream with a new session id")

    async def _write(self) -> None:
        while (written := self._written) is not None:
            batch, self._waiting, self._written = self._waiting, {}, None
            try:
                written.set_result(await self._store.touch_sessions(batch, self._policy.ttl))
            except BaseException as error:
                written.set_exception(error)
                written.exception()  # counts as retrieved, though every stream of the batch may be gone
                if not isinstance(error, Exception):
                    raise
            await asyncio.sleep(WRITE_GAP)
