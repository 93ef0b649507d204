"""How a defect is told: the kind and the place of its exception, never its text.

An exception's text quotes what it choked on, and that may be a prompt, a key or a password (G11): KeyError shows the
key, orjson the document, SQLAlchemy a statement's values. Imports little: every process that we start uses it.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

Tell = Callable[[str, str], None]  # what happened, and the exception as `describe` tells it

DEEPEST = 8  # exceptions of one chain or group that are told
# What a loop says begins in plain words; a callback's arguments follow.
PLAIN = re.compile(r"[A-Za-z0-9 ,.!'_-]{0,100}")


def describe(error: BaseException) -> str:
    """An exception with its causes as Python shows it, without texts; of the operating system's errors the number."""
    return "".join(_described(error, DEEPEST)).rstrip("\n")


def install_hooks(tell: Tell) -> None:
    """Has what nobody caught, in any thread or destructor, told to `tell` instead of printed by Python."""

    def uncaught(kind: type[BaseException], error: BaseException, _traceback: Any) -> None:
        if isinstance(error, KeyboardInterrupt):
            sys.__excepthook__(kind, error, _traceback)
            return
        tell("process_failed", describe(error))

    def in_thread(context: threading.ExceptHookArgs) -> None:
        if context.exc_value is not None and not isinstance(context.exc_value, SystemExit):
            tell("thread_failed", describe(context.exc_value))

    def unraisable(context: sys.UnraisableHookArgs) -> None:
        if context.exc_value is not None:
            tell("exception_ignored", describe(context.exc_value))

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable


def loop_handler(tell: Tell) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """For `loop.set_exception_handler`: the loop's own would show tasks and callbacks with what they hold."""

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        plain = PLAIN.match(str(context.get("message")))
        what = plain[0].strip() if plain else ""
        tell("loop_exception", f"{what}\n{describe(error)}" if error is not None else what)

    return handle


def say(what: str, exception: str) -> None:
    """Tells on standard error, for processes without a log."""
    sys.stderr.write(f"{what}: {exception}\n")


def _described(error: BaseException, most: int) -> Iterator[str]:
    if most == 0:
        yield "…\n"
        return
    if cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        yield from _described(cause, most - 1)
        yield "\nfollowed by:\n\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{_kind(error)}\n"
    if isinstance(error, BaseExceptionGroup):
        for number, inner in enumerate(error.exceptions[:most], 1):
            yield f"\nof which {number}:\n\n"
            yield from _described(inner, most - 1)


def _kind(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return f"{name}: [Errno {error.errno}] {os.strerror(error.errno)}"
    state = getattr(error, "sqlstate", None)  # PostgreSQL's five letters and digits
    return f"{name}: {state}" if isinstance(state, str) and re.fullmatch(r"[0-9A-Z]{5}", state) else name
