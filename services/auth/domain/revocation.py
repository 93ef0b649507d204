"""The wait that makes "revoked" true: until no edge can serve any more what a change took away (G6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from services.auth.domain.bell import Bell, wait_for_ring
from services.auth.domain.errors import RevocationUnconfirmed
from services.auth.domain.sessions import SessionPolicy
from services.auth.domain.store import LateSessions

log = get_logger(__name__)


class ConfirmationObserver(Protocol):
    """Counts how waits end."""

    def confirmed(self, seconds: float, timed_out: int) -> None:
        """Every session has confirmed a change, or `timed_out` of them were waited out."""
        ...

    def unconfirmed(self) -> None:
        """A session that is alive did not confirm."""
        ...


class Confirmations:
    """Waits for acknowledgements. They are rows, so it does not matter which replica an edge is connected to.

    `late` looks up who has not acknowledged a sequence; `acknowledged` rings when that may have changed.
    """

    def __init__(
        self,
        late: Callable[[int], Awaitable[LateSessions]],
        acknowledged: Bell,
        policy: SessionPolicy,
        clock: Clock,
        observer: ConfirmationObserver,
    ) -> None:
        self._late = late
        self._acknowledged = acknowledged
        self._policy = policy
        self._clock = clock
        self._observer = observer

    async def wait(self, sequence: int) -> int:
        """Returns when every session that was alive has acknowledged `sequence`, left, or been silent for the ttl.

        Returns how many of them were waited out. No session can join late: one that opens after the change was
        committed starts at its sequence or a later one. Raises RevocationUnconfirmed, DatabaseUnavailable.
        """
        started = self._clock.monotonic()
        awaited: frozenset[str] | None = None
        while True:
            ring = self._acknowledged.listen()
            late = await self._late(sequence)
            awaited = frozenset(late.alive) if awaited is None else awaited
            seconds = self._clock.monotonic() - started
            if not late.alive:
                return self._confirmed(sequence, seconds, len(awaited & late.lapsed.keys()))
            if seconds > self._policy.confirmation_timeout:
                self._observer.unconfirmed()
                raise RevocationUnconfirmed(
                    f"the change is stored, but {len(late.alive)} edge sessions did not confirm it within "
                    f"{seconds:.1f} s; repeat the call to wait again"
                )
            await wait_for_ring(ring, self._policy.poll_interval)

    def _confirmed(self, sequence: int, seconds: float, timed_out: int) -> int:
        self._observer.confirmed(seconds, timed_out)
        log.info("change_confirmed", sequence=sequence, seconds=round(seconds, 3), timed_out=timed_out)
        return timed_out
