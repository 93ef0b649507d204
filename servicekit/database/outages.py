"""A database that does not answer: which errors say so, which connections are of no use afterwards, and what is logged.

Classes of errors count, not single ones: after a failover a server may refuse writes, logins or everything, each by a
code of its own, and all of it means that the database is not here any more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import prometheus_client
import sqlalchemy.exc

from servicekit.clock import SystemClock
from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger

log = get_logger(__name__)

UNAVAILABLE = prometheus_client.Counter(
    "muhgpt_database_unavailable_total", "Transactions that failed because the database did not answer"
)

# What drivers raise when the server is gone, restarting, or out of connections.
OUTAGES = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
    sqlite3.OperationalError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # an answer that makes no sense, such as half of one
    OSError,
    EOFError,
    TimeoutError,
)
# Classes of SQLSTATE (PostgreSQL, appendix A): connection, login, no such database, resources, an operator's
# intervention, the system, its configuration, an internal error.
OUTAGE_CLASSES = frozenset(("08", "28", "3D", "53", "57", "58", "F0", "XX"))
OUTAGE_STATES = frozenset((
    "25006",  # read only: a standby, or one that was told to be
    "25P03",  # it ended the session for being idle in a transaction
    "25P04",  # ... or for its length
    "26000",  # a pooler gave us another session, without what was prepared
    "40001",  # a standby that had to go on, or two that changed the same: both are asked again
    "55000",  # it was told to take no connections
))  # fmt: skip
STILL_HERE = frozenset((
    "40001",
    "53100",  # disk full
    "53200",  # out of memory
    "53400",  # a limit of its configuration
    "57014",  # the statement was cancelled, by its time-out or by an operator
))  # fmt: skip
# SQLite's primary result codes after which a connection is opened again: the file may be another one, or mended.
SQLITE_GONE = frozenset((
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
))  # fmt: skip
LINE_EVERY = 10.0  # seconds between two lines of one outage


def is_outage(error: BaseException) -> bool:
    """Whether an error says that the database does not answer, and not that what it was asked is wrong."""
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return True
    return any(_says_outage(each) for each in _layers(error))


def is_gone(error: BaseException) -> bool:
    """Whether the connection is of no use any more: the database is elsewhere, or this one serves no more."""
    return any(_says_gone(each) for each in _layers(error))


def _layers(error: BaseException) -> Iterator[BaseException]:
    """SQLAlchemy hides the driver's own error, and while it connects one level deeper."""
    yield error
    cause = getattr(error, "orig", None)
    if isinstance(cause, BaseException):
        yield cause
        if cause.__cause__ is not None:
            yield cause.__cause__
    elif isinstance(error, asyncpg.InterfaceError | sqlalchemy.exc.DBAPIError) and error.__cause__ is not None:
        yield error.__cause__


def _says_outage(error: BaseException) -> bool:
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state[:2] in OUTAGE_CLASSES or state in OUTAGE_STATES
    return isinstance(error, OUTAGES) or _sqlite_code(error) in SQLITE_GONE


def _says_gone(error: BaseException) -> bool:
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return (state[:2] in OUTAGE_CLASSES or state in OUTAGE_STATES) and state not in STILL_HERE
    return _sqlite_code(error) in SQLITE_GONE


def _sqlite_code(error: BaseException) -> int:
    """The primary result code; 0: not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


class OutageLog:
    """One line when an outage begins, one in ten seconds while it lasts, one when it is over.

    Reads may be served while nothing can be written, on a full disk or a standby: such an outage ends with a write.
    """

    def __init__(self, monotonic: Callable[[], float] | None = None) -> None:
        self._monotonic = monotonic or SystemClock().monotonic
        self._failing: set[bool] = set()  # of writing: True, of reading: False
        self._began = 0.0
        self._failures = 0
        self._next_line = 0.0
        self._told = False  # of this outage there is a line

    def failed(self, error: BaseException, *, write: bool) -> None:
        """A transaction failed."""
        UNAVAILABLE.inc()
        now = self._monotonic()
        if not self._failing:
            self._began, self._failures, self._told = now, 0, False
        self._failing.add(write)
        self._failures += 1
        if now >= self._next_line:
            self._next_line, self._told = now + LINE_EVERY, True
            cause = list(_layers(error))[-1]
            state = getattr(cause, "sqlstate", None)
            log.warning(
                "database_unavailable",
                error=type(cause).__name__,
                **({"state": state} if state else {}),
                failures=self._failures,
                seconds=round(now - self._began, 1),
            )

    def succeeded(self, *, write: bool) -> None:
        """A transaction was done."""
        if not self._failing:
            return
        self._failing -= {False, write}
        if not self._failing and self._told:
            now = self._monotonic()
            log.info("database_available", failures=self._failures, seconds=round(now - self._began, 1))


OUTAGE_LOG = OutageLog()  # of this process: it has one database


@contextmanager
def outages_translated(*, write: bool = True) -> Iterator[None]:
    """Turns what drivers raise when the database does not answer into DatabaseUnavailable."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DatabaseUnavailable) or not is_outage(error):
            raise
        OUTAGE_LOG.failed(error, write=write)
        raise DatabaseUnavailable("the database does not answer") from error
    OUTAGE_LOG.succeeded(write=write)


def note_gone(context: Any) -> None:
    """For SQLAlchemy's handle_error: connections that are of no use are closed, those that wait in the pool too."""
    if is_gone(context.original_exception):
        context.is_disconnect = True
