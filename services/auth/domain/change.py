"""A change: something that makes a principal in an edge's cache wrong. Changes are numbered and never deleted."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass


class ChangeKind(enum.StrEnum):
    """What happened; the first two end running streams and are waited for."""

    KEY_REVOKED = "key_revoked"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_UPDATED = "account_updated"


@dataclass(frozen=True)
class Change:
    """One change. Sequences rise by one, and a lower one was always committed earlier (store/changes.py says how)."""

    sequence: int
    kind: ChangeKind
    account_id: str
    key_id: str = ""


class Bell:
    """Wakes everyone in this process who waits for something to change in the store."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def listen(self) -> asyncio.Event:
        """The event of the next ring. Take it before looking at the store, so that no ring is missed between."""
        return self._event

    def ring(self) -> None:
        """Wakes all who listen."""
        rung, self._event = self._event, asyncio.Event()
        rung.set()


async def heard(event: asyncio.Event, timeout: float) -> None:
    """Waits for an event, at most `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return
