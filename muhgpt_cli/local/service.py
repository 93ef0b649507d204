"""One service as a child process: start until it serves, wait, stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from muhgpt_cli.errors import CliError
from muhgpt_cli.local.data_dir import DataDir
from muhgpt_cli.local.log_tail import last_words

POLL = 0.02  # seconds between looks for the address file
START_FAILED = 2  # exit code of a service whose settings or surroundings are wrong (servicekit/process.py)


def python(*arguments: str) -> tuple[str, ...]:
    """This interpreter; -P, so that a directory `services` where the command was typed is not taken for ours."""
    return (sys.executable, "-P", *arguments)


class ServiceFailed(CliError):
    """A service ended that should run. The message holds its last words."""

    def __init__(self, service: ServiceProcess, what: str) -> None:
        self.exit_code = service.exit_code
        words = "".join(f"\n  {line}" for line in service.last_words())
        super().__init__(f"{service.name} {what}{words or ' without a word'}\n  (its log: {service.log})")


@dataclass
class ServiceProcess:
    """A service and, while it runs, its process.

    The process leads a group of its own: Ctrl-C does not reach it, and what it started can be ended with it.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    data_dir: DataDir
    start_timeout: float  # seconds
    address: str | None = field(default=None, init=False)
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _group: int | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)

    @property
    def log(self) -> Path:
        return self.data_dir.log(self.name)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def last_words(self) -> list[str]:
        """What it said last since it was started."""
        return last_words(self.log, self._log_start)

    async def start(self) -> None:
        """Starts it and returns when it serves, at `address` if that is set; a second start takes the first's address,
        where its peers look for it.

        Raises ServiceFailed when it ends instead, or takes longer than `start_timeout`.
        """
        address_file = self.data_dir.address_file(self.name)
        address_file.unlink(missing_ok=True)
        self._process = await self._spawn(address_file)
        self._group = self._process.pid
        try:
            async with asyncio.timeout(self.start_timeout):
                while not address_file.exists():
                    if not self.running:
                        raise ServiceFailed(self, "did not start:")
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise ServiceFailed(self, f"did not serve within {self.start_timeout:.0f} s:") from None
        self.address = address_file.read_text().strip()

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal, if it runs."""
        if self._process is not None and self.running:
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Waits for its end; returns the exit code (negative: the signal that killed it)."""
        assert self._process is not None
        code = await self._process.wait()
        self._end_group()
        return code

    async def stop(self, patience: float) -> None:
        """SIGTERM, and SIGKILL after `patience` seconds."""
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), patience)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        self._end_group()

    def _end_group(self) -> None:
        """Ends what the process left behind. Its group's number may belong to others from now on."""
        self.kill()
        self._group = None

    def kill(self) -> None:
        """SIGKILL to the process and all that it started."""
        if self._group is None:
            return
        try:
            os.killpg(self._group, signal.SIGKILL)
        except ProcessLookupError:  # all have ended
            self._group = None

    async def _spawn(self, address_file: Path) -> asyncio.subprocess.Process:
        prefix = f"MUHGPT_{self.name.upper()}_"
        environment = {**self.environment, f"{prefix}ADDRESS_FILE": str(address_file)}
        if self.address is not None:
            environment[f"{prefix}LISTEN"] = self.address
        log = self.data_dir.open_log(self.name)
        self._log_start = os.fstat(log).st_size
        try:
            return await asyncio.create_subprocess_exec(
                *python("-m", "muhgpt_cli.local.child", str(os.getpid())),
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                process_group=0,
            )
        finally:
            os.close(log)
