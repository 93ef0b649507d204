"""Signs of life of edge sessions, written down for every replica."""

from __future__ import annotations

from collections.abc import Sequence

from services.auth.domain.errors import SessionLapsed
from services.auth.domain.sessions import SessionPolicy
from services.auth.domain.store import ChangeStore
from services.auth.running.batch import Batch

# Between two writes of heartbeats; so a process writes at most a hundred times a second, however many edges beat.
WRITE_GAP = 0.01  # seconds
SignOfLife = tuple[str, int]  # the session, and the sequence up to which it has acknowledged


class Heartbeats:
    """Writes what the streams of this process received, many sessions in one transaction.

    record() returns after the commit, and only then may a heartbeat be answered: an edge counts its trust from sending
    the heartbeat that was answered last, so an answered one must already have prolonged the session for every replica.
    """

    def __init__(self, store: ChangeStore, policy: SessionPolicy) -> None:
        self._store = store
        self._policy = policy
        self._batch: Batch[SignOfLife, frozenset[str]] = Batch(self._write, WRITE_GAP)

    async def record(self, session_id: str, acknowledged: int) -> None:
        """Notes that a session is alive and has every change up to `acknowledged`.

        Raises SessionLapsed when auth has stopped waiting for it, DatabaseUnavailable when nothing could be written.
        """
        if session_id not in await self._batch.ask((session_id, acknowledged)):
            raise SessionLapsed("this session was silent for too long; open a new stream with a new session id")

    async def _write(self, signs: Sequence[SignOfLife]) -> frozenset[str]:
        acknowledged: dict[str, int] = {}
        for session_id, sequence in signs:
            acknowledged[session_id] = max(sequence, acknowledged.get(session_id, 0))
        return await self._store.touch_sessions(acknowledged, self._policy.ttl)
