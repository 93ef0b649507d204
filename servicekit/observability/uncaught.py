"""What nobody caught becomes a log event like any other: in the main thread, other threads, tasks and finalizers."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from types import TracebackType
from typing import Any

from servicekit.clock import Clock, SystemClock
from servicekit.observability.logging import get_logger

log = get_logger(__name__)

REPEAT = 10.0  # seconds between two lines of one kind: what a lost connection leaves behind comes by the hundred
MAX_KINDS = 100
UNHEARD = "exception was never retrieved"  # how asyncio begins about a future or task that nobody waits for any more


def install() -> None:
    """Sets the interpreter's hooks; Python's own warnings go to the log too."""
    sys.excepthook = _crashed
    threading.excepthook = _thread_crashed
    sys.unraisablehook = _unraisable
    logging.captureWarnings(True)


def watch_loop(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio's own report would hold the exception's text, in the repr of its task."""
    loop.set_exception_handler(_loop_failed)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        log.critical("crashed", exc_info=error)


def _thread_crashed(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread else ""
    log.critical("thread_crashed", thread=name, exc_info=arguments.exc_value)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    log.error("finalizer_failed", of=type(unraisable.object).__name__, exc_info=unraisable.exc_value)


def _loop_failed(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    what, error = _what(context), context.get("exception")
    times = _seen.again((what, type(error)))
    if not times:
        return
    task = context.get("task") or context.get("future")
    name = task.get_name() if isinstance(task, asyncio.Task) else ""
    # A driver's own futures, when its connection breaks under a call that was given up: no defect of anybody's.
    tell = log.warning if UNHEARD in what and _is_lost_connection(error) else log.error
    tell("task_failed", what=what, task=name, times=times, exc_info=error)


def _is_lost_connection(error: BaseException | None) -> bool:
    return isinstance(error, OSError | EOFError) or type(error).__module__.startswith("asyncpg.")


class _Seen:
    """Counts what repeats, so that each kind is a line in REPEAT seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kinds: dict[object, tuple[float, int]] = {}

    def again(self, kind: object) -> int:
        """How often it has happened since it was last reported, now included; 0: it is not to be reported yet."""
        now = self._clock.monotonic()
        reported, times = self._kinds.get(kind, (float("-inf"), 0))
        if now - reported < REPEAT:
            self._kinds[kind] = (reported, times + 1)
            return 0
        if len(self._kinds) >= MAX_KINDS:
            self._kinds.clear()
        self._kinds[kind] = (now, 0)
        return times + 1


_seen = _Seen(SystemClock())


def _what(context: dict[str, Any]) -> str:
    """asyncio's sentence, without the reprs that some of them end with."""
    return str(context.get("message", "")).partition("<")[0].strip()
