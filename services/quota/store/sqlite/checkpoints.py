"""Copies SQLite's log back into the database, beside the commits and not within one of them.

A commit that copies takes as long as the log is: 5.6 s were seen. So a thread with its own connection does it (PASSIVE:
it waits for nobody, and nobody waits for it). While it copies the log grows, and a log begins anew only when all of it
was copied; the short rest is copied between two commits.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger

log = get_logger(__name__)

CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
CHECKPOINT_INTERVAL = 2.0  # seconds; a copy writes each changed page once, however often it changed
SHORT_REST = 1024  # pages of 4 KiB that a commit may wait for: some milliseconds
LONG_LOG = 8192  # pages; where commits come so fast that no rest is short, they have to wait for once
MAX_ROUNDS = 5  # copies in a row; more is for the next time
SOME_LOG = 1024  # pages from which on it is worth a commit's while that the log begins anew


class Checkpoints:
    """Runs from its making to close(). `finish` copies the rest between two commits."""

    def __init__(self, path: str, *, finish: Callable[[], Awaitable[None]], interval: float) -> None:
        self._path = path
        self._finish = finish
        self._interval = interval
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._connection: sqlite3.Connection | None = None
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """A copy under way ends first."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    async def _run(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(self._interval)
            try:
                pages, rest = await asyncio.get_running_loop().run_in_executor(self._thread, self._copy)
                if pages >= LONG_LOG or (pages >= SOME_LOG and 0 < rest <= SHORT_REST):
                    await self._finish()
                failing = False
            except (sqlite3.Error, DatabaseUnavailable) as error:  # a full disk, say: the next time it may be better
                if not failing:
                    log.warning("checkpoint_failed", error=type(error).__name__)
                failing = True

    def _copy(self) -> tuple[int, int]:
        """Pages in the log, and how many of them are left to copy."""
        pages = rest = 0
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            for _ in range(MAX_ROUNDS):
                _, pages, copied = self._connection.execute(CHECKPOINT).fetchone()
                before, rest = rest, pages - copied
                if rest <= SHORT_REST or rest == before:  # a reader may hold it back
                    break
        except sqlite3.Error:
            self._disconnect()
            raise
        return pages, rest

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
