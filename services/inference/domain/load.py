"""How busy this replica is, over all its engines, and who wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.inference.domain.fair_queue import Admission


@dataclass(frozen=True, slots=True)
class Load:
    """Requests waiting for a slot, and requests generating."""

    waiting: int
    running: int


class LoadMeter:
    """Sums the admissions of all engines and wakes those who watch."""

    def __init__(self) -> None:
        self._admissions: list[Admission] = []
        self._watchers: set[asyncio.Event] = set()

    def add(self, admission: Admission) -> None:
        """Counts one more engine's admission."""
        self._admissions.append(admission)

    def remove(self, admission: Admission) -> None:
        """Counts it no more."""
        self._admissions.remove(admission)

    def read(self) -> Load:
        """The load at this moment."""
        return Load(sum(a.waiting for a in self._admissions), sum(a.running for a in self._admissions))

    def changed(self) -> None:
        """Called by an admission after each change."""
        for event in self._watchers:
            event.set()

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set at each change; whoever waits clears it."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)
