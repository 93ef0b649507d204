"""Edge sessions that have not acknowledged a change, looked up for all waits at once."""

from __future__ import annotations

from collections.abc import Sequence

from services.auth.domain.sessions import SessionPolicy
from services.auth.domain.store import ChangeStore, LateSessions
from services.auth.running.batch import Batch


class SharedLook:
    """Many revocations wait at once, and each acknowledgement wakes all of them: one transaction answers them all."""

    def __init__(self, store: ChangeStore, policy: SessionPolicy) -> None:
        self._store = store
        self._policy = policy
        self._batch: Batch[int, LateSessions] = Batch(self._look)

    async def late(self, sequence: int) -> LateSessions:
        """The sessions that have not acknowledged `sequence`. Raises DatabaseUnavailable."""
        return (await self._batch.ask(sequence)).before(sequence)

    async def _look(self, sequences: Sequence[int]) -> LateSessions:
        """Who is late for the newest change includes who is late for an older one."""
        return await self._store.late_sessions(max(sequences), self._policy.ttl)
