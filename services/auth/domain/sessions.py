"""Edge sessions: how long their silence is trusted."""

from __future__ import annotations

from dataclasses import dataclass


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
