"""How a process of the platform begins and ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
import uvloop

from servicekit import last_words, tracing
from servicekit.errors import StartupError
from servicekit.logging import configure, get_logger
from servicekit.masking import masked

log = get_logger(__name__)

START_FAILED = 2
CRASHED = 1


def run(main: Callable[[], Coroutine[Any, Any, None] | Awaitable[None]]) -> None:
    """Runs an async main on uvloop. A StartupError becomes lines on stderr and exit code 2, without a stack trace.

    Anything else that main raises is a defect: one log event that tells where it was, and exit code 1.
    """
    if not structlog.is_configured():
        configure("starting")  # until main has read its settings
    last_words.install()

    async def entry() -> None:
        last_words.watch_loop(asyncio.get_running_loop())
        try:
            await main()
        finally:
            tracing.shutdown()

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
        sys.stderr.write(f"error: {line}\n")
