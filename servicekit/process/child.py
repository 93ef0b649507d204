"""A Python module that works in a process of its own: started when it is needed, asked, killed when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

START_TIMEOUT = 30.0  # seconds to start Python and load the module's libraries, on a busy machine
Answer = tuple[dict[str, Any], bytes]


def module_command(module: str, *arguments: object) -> list[str]:
    """How a module is run as a program. -P: the directory that the operator stands in must not be imported from."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def part_of_environment(names: Iterable[str]) -> dict[str, str]:
    """These variables where they are set, and no others: settings, keys and tokens stay in the parent."""
    return {name: os.environ[name] for name in names if name in os.environ}


class Child:
    """One process that answers over its pipes, running or not.

    It reads a line of JSON and what that announces, and writes a line of JSON and `size` bytes; the first answer comes
    when it is ready. Whatever goes wrong while it is asked ends it: it might answer late.
    """

    def __init__(self, module: str, *arguments: object, environment: Iterable[str]) -> None:
        """`environment`: the names of the variables that it inherits."""
        self._command = module_command(module, *arguments)
        self._environment = tuple(environment)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        return self._process.pid if self._process else None

    async def start(self) -> dict[str, Any] | None:
        """What it said when it was ready; None when it ran already. Raises OSError, EOFError and TimeoutError."""
        if self._process is not None and self._process.returncode is None:
            return None
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, env=part_of_environment(self._environment)
        )
        try:
            async with asyncio.timeout(START_TIMEOUT):
                head, _ = await _answer(self._process)
        except BaseException:
            await self.kill()
            raise
        return head

    async def ask(self, head: dict[str, Any], content: bytes) -> Answer:
        """Its answer. Raises OSError, EOFError and ValueError when it died."""
        if self._process is None or self._process.stdin is None:
            raise EOFError
        try:
            self._process.stdin.write(json.dumps(head).encode() + b"\n" + content)
            await self._process.stdin.drain()
            return await _answer(self._process)
        except BaseException:
            await self.kill()
            raise

    async def kill(self) -> None:
        """Ends it; the next start makes another."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())


async def _answer(process: asyncio.subprocess.Process) -> Answer:
    assert process.stdout is not None
    head: dict[str, Any] = json.loads(await process.stdout.readuntil(b"\n"))
    return head, await process.stdout.readexactly(head.get("size", 0))
