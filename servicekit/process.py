"""How a process of the platform begins and ends."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from servicekit import tracing
from servicekit.errors import StartupError

START_FAILED = 2


def run(main: Callable[[], Coroutine[Any, Any, None] | Awaitable[None]]) -> None:
    """Runs an async main on uvloop. A StartupError becomes lines on stderr and exit code 2, without a stack trace."""

    async def entry() -> None:
        try:
            await main()
        finally:
            tracing.shutdown()

    try:
        uvloop.run(entry())
    except StartupError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        sys.exit(START_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
