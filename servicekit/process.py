"""How a process of the platform begins and ends."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from servicekit import crash
from servicekit.errors import StartupError
from servicekit.logging import tell

START_FAILED = 2
FIRST = 1  # the process id of a container's only program


def run(main: Callable[[], Coroutine[Any, Any, None] | Awaitable[None]]) -> None:
    """Runs an async main on uvloop. A StartupError becomes lines on stderr and exit code 2, without a stack trace.

    Any other exception becomes an event and exit code 1. What a task or a callback raises and nobody takes, an event.
    """

    forbid_core_files()

    async def entry() -> None:
        asyncio.get_running_loop().set_exception_handler(crash.loop_handler(tell))
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


def _heed_sigterm() -> None:
    """As a container's first process, ends at SIGTERM while it starts, too.

    The kernel keeps signals without a handler from such a process, so one that loads a model would be killed only when
    its grace period is over. Once it serves, server.py and the edge's worker take the signal over.
    """
    if os.getpid() == FIRST and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
