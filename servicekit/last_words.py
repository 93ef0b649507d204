"""What nobody caught becomes a log event like any other: in the main thread, other threads, tasks and finalizers."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from types import TracebackType
from typing import Any

from servicekit.logging import get_logger

log = get_logger(__name__)


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
    task = context.get("task") or context.get("future")
    name = task.get_name() if isinstance(task, asyncio.Task) else ""
    log.error("task_failed", what=_what(context), task=name, exc_info=context.get("exception"))


def _what(context: dict[str, Any]) -> str:
    """asyncio's sentence, without the reprs that some of them end with."""
    return str(context.get("message", "")).partition("<")[0].strip()
