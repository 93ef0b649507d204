"""How a process of the platform begins and ends."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from servicekit import crash
from servicekit.errors import StartupError
from servicekit.logging import tell

START_FAILED = 2


def run(main: Callable[[], Coroutine[Any, Any, None] | Awaitable[None]]) -> None:
    """Runs an async main on uvloop. A StartupError becomes lines on stderr and exit code 2, without a stack trace.

    Any other exception becomes an event and exit code 1. What a task or a callback raises and nobody takes, an event.
    """

    forbid_core_files()

    async def entry() -> None:
        asyncio.get_running_loop().set_exception_handler(crash.loop_handler(tell))
        await main()

    try:
        uvloop.run(entry())
    except StartupError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        sys.exit(START_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  whatever it is, Python would print its text
        tell("process_failed", crash.describe(error))
        sys.exit(1)


def forbid_core_files() -> None:
    """No crash of this process, or of one that it starts, writes its memory down: prompts and keys are in it (G11).

    A limit of 0 still lets core files into a program that /proc/sys/kernel/core_pattern names; Linux takes 1 to mean
    neither file nor program (fs/coredump.c), and less than a page is no file elsewhere either.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (1 if hard else 0, hard))
