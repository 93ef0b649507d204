"""SQLite's connections as the platform opens them: what a cancelled call leaves behind ends at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any
from weakref import WeakSet

import aiosqlite
import sqlalchemy.exc
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

__all__ = ["LOG_LIMIT_BYTES", "sqlite_engine"]

LOG_LIMIT_BYTES = 64 * 2**20  # SQLite's log is cut to this when it begins anew


def sqlite_engine(url: URL, synchronous: str) -> AsyncEngine:
    """An engine for the file that `url` names; `synchronous` is SQLite's pragma of that name."""
    path = Path(str(url.database))

    async def connect() -> aiosqlite.Connection:
        return await _Driver(path)

    engine = create_async_engine(url, hide_parameters=True, async_creator=connect)

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's "begin" below, not the driver, starts transactions
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "busy_timeout=5000", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute(f"PRAGMA journal_size_limit={LOG_LIMIT_BYTES}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine.sync_engine, "invalidate", _interrupt)
    return engine


def _interrupt(connection: Any, _record: Any, _error: Any) -> None:
    """Ends the statement of a call that was cancelled: its connection closes only after it, which may take minutes."""
    with suppress(sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, ValueError):  # closed already
        connection.run_async(lambda driver: driver.interrupt())


class _Driver(aiosqlite.Connection):
    """A connection that may be stopped twice.

    Of a call that is cancelled while its connection closes, SQLAlchemy stops the connection and the close stops it,
    too. aiosqlite's thread ends at the first; whoever waits for the second waits for ever, and the process with it.
    """

    def __init__(self, path: Path) -> None:
        def connector() -> sqlite3.Connection:
            return sqlite3.connect(path, factory=_Connection, check_same_thread=False)

        super().__init__(connector, iter_chunk_size=64)
        self._thread = Thread(target=_until_the_loop_is_gone, args=(self._thread.run,), daemon=True)
        self._stop: asyncio.Future[Any] | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        self._stop = self._stop or super().stop()
        return self._stop


def _until_the_loop_is_gone(work: Callable[[], None]) -> None:
    """A connection that is closed by force while the process ends has nobody left who would wait for its answer."""
    with suppress(RuntimeError):
        work()


class _Connection(sqlite3.Connection):
    """Ends its statements and rolls back before it closes.

    A call that is cancelled in its transaction closes its connection, but SQLite keeps a closed connection's
    transaction, write lock and all, for as long as one of its cursors is in memory (sqlite3_close_v2): seen until the
    garbage collector came. And while one of them has rows left, an interrupt holds for the rollback too.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        cursor = super().cursor(*arguments, **options)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        with suppress(sqlite3.Error):  # closed already, or broken: there is nothing to roll back
            for cursor in list(self._cursors):
                cursor.close()
            self.rollback()
        super().close()
