"""The wait that makes "revoked" true: until no edge can serve any more what a change took away (G6)."""

from __future__ import annotations

from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from services.auth import metrics
from services.auth.domain.change import Bell, heard
from services.auth.domain.errors import RevocationUnconfirmed
from services.auth.domain.sessions import SessionPolicy
from services.auth.domain.store import ChangeStore

log = get_logger(__name__)


class Confirmations:
    """Waits for acknowledgements. They are rows, so it does not matter which replica an edge is connected to."""

    def __init__(self, store: ChangeStore, bell: Bell, policy: SessionPolicy, clock: Clock) -> None:
        self._store = store
        self._bell = bell
        self._policy = policy
        self._clock = clock

    async def wait(self, sequence: int) -> int:
        """Returns when every session that was alive has acknowledged `sequence`, left, or been silent for the ttl.

        Returns how many of them were waited out. No session can join late: one that opens after the change was
        committed starts at its sequence or a later one. Raises RevocationUnconfirmed, DatabaseUnavailable.
        """
        started = self._clock.monotonic()
        awaited: frozenset[str] | None = None
        while True:
            ring = self._bell.listen()
            left = await self._store.unconfirmed(sequence, self._policy.ttl)
            awaited = left.alive if awaited is None else awaited
            seconds = self._clock.monotonic() - started
            if not left.alive:
                timed_out = len(awaited & left.lapsed)
                metrics.CONFIRMED.observe(seconds)
                metrics.WAITED_OUT.inc(timed_out)
                log.info("change_confirmed", sequence=sequence, seconds=round(seconds, 3), timed_out=timed_out)
                return timed_out
            if seconds > self._policy.confirmation_timeout:
                metrics.UNCONFIRMED.inc()
                raise RevocationUnconfirmed(
                    f"the change is stored, but {len(left.alive)} edge sessions did not confirm it within "
                    f"{seconds:.1f} s; repeat the call to wait again"
                )
            await heard(ring, self._policy.poll_interval)
