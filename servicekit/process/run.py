"""How a process of the platform begins and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
import uvloop

from servicekit.errors import StartupError
from servicekit.observability import tracing
from servicekit.observability import uncaught as last_words
from servicekit.observability.log_output import standard_error
from servicekit.observability.logging import configure, get_logger
from servicekit.observability.masking import masked
from servicekit.process.core_files import forbid_core_files

log = get_logger(__name__)

START_FAILED = 2
CRASHED = 1
FIRST = 1  # the process id of a container's only program


def run(main: Callable[[], Coroutine[Any, Any, None] | Awaitable[None]]) -> None:
    """Runs an async main on uvloop. A StartupError becomes lines on stderr and exit code 2, without a stack trace.

    Anything else that main raises is a defect: one log event that tells where it was, and exit code 1.
    """
    if not structlog.is_configured():
        configure("starting")  # until main has read its settings
    last_words.install()
    forbid_core_files()

    async def entry() -> None:
        # Late: the metrics' library looks once, when it is imported, for the directory that several workers share.
        from servicekit.process.watchdog import watching

        loop = asyncio.get_running_loop()
        last_words.watch_loop(loop)
        try:
            with watching(loop):
                await main()
        finally:
            tracing.shutdown()

    _heed_sigterm()

    try:
        uvloop.run(entry())
    except StartupError as error:
        say_why(error)
        sys.exit(START_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        log.critical("crashed", exc_info=True)
        sys.exit(CRASHED)


def say_why(error: StartupError) -> None:
    """Plain lines on stderr for whoever starts the process, "error: …"; settings may hold secrets in wrong places."""
    for line in masked(str(error)).splitlines():
        standard_error().write(f"error: {line}\n".encode(errors="backslashreplace"))


def _heed_sigterm() -> None:
    """As a container's first process, ends at SIGTERM while it starts, too.

    The kernel keeps signals without a handler from such a process, so one that loads a model would be killed only when
    its grace period is over. Once it serves, server.py and the edge's worker take the signal over.
    """
    if os.getpid() == FIRST and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
