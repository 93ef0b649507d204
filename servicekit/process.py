"""How a process of the platform begins and ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from servicekit.errors import StartupError

START_FAILED = 2
FIRST = 1  # the process id of a container's only program


def run(main: Callable[[], Coroutine[Any, Any, None] | Awaitable[None]]) -> None:
    """Runs an async main on uvloop. A StartupError becomes lines on stderr and exit code 2, without a stack trace."""

    async def entry() -> None:
        await main()

    _heed_sigterm()

    try:
        uvloop.run(entry())
    except StartupError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        sys.exit(START_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)


def _heed_sigterm() -> None:
    """As a container's first process, ends at SIGTERM while it starts, too.

    The kernel keeps signals without a handler from such a process, so one that loads a model would be killed only when
    its grace period is over. Once it serves, server.py and the edge's worker take the signal over.
    """
    if os.getpid() == FIRST and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
