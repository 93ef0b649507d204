"""What quota needs of a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.quota.domain.operations import Operation
from services.quota.domain.outcomes import Outcome


class Store(Protocol):
    """The writing side. Every call raises DatabaseUnavailable when the outcome is unknown; repeating is harmless."""

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Applies operations in order in one transaction and returns their outcomes in the same order.

        Safe because every account named by the batch is locked, in id order, before anything about it is read; two
        replicas therefore decide one after the other and cannot deadlock. Raises what the database raises when a
        constraint is broken; nothing of the batch has happened then.
        """
        ...

    async def renew(self, session_id: bytes, edge_name: str, lease: float) -> None:
        """The session's holds live `lease` seconds from now."""
        ...

    async def lapsed(self, limit: int) -> list[bytes]:
        """Ids of open holds whose session's lease is over, oldest first, at most limit."""
        ...

    async def unconfirmed(self, grace: float, limit: int) -> list[bytes]:
        """Ids of unconfirmed charges whose session's lease has been over for `grace` seconds, oldest first."""
        ...

    async def forgive_losses(self, account_id: str) -> int:
        """Takes the account's losses of this UTC day off its bound; gives the credits that no longer count."""
        ...

    async def do_housekeeping(self, months: int | None) -> float:
        """One bounded step of housekeeping; gives the seconds until the next is due. Requests go on meanwhile.

        PostgreSQL: makes partitions of charges for coming months. Both: sessions that lapsed a day ago are forgotten.
        Of charges that ended and are older than the current month and `months` whole ones before it, some are dropped,
        and what they had cost is carried forward in the same transaction. None: all are kept.
        """
        ...

    async def close(self) -> None:
        """Ends the connections; calls under way end first."""
        ...
