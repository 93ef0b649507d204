"""One process of a cluster: started at a fixed address, killed, started again at the same."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

START = 90.0  # seconds, on a busy machine
STOP = 45.0


class Service:
    """`python -m services.<kind>.main` with settings from its environment. Its log is `<name>.log` in the folder."""

    def __init__(
        self,
        name: str,
        kind: str,
        folder: Path,
        settings: dict[str, str],
        environment: Mapping[str, str] | None = None,
        python: Path | None = None,
    ) -> None:
        """`environment` is what the process has besides. `python`: of an environment with another version in it."""
        self.name = name
        self.python = python  # from the next start on
        self._environment = environment or {}
        self.address = f"127.0.0.1:{free_port()}"
        self.settings = settings
        self.log = folder / f"{name}.log"
        self._kind = kind
        self._address_file = folder / f"{name}.address"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The main process's id."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def spawn(self, **other: str) -> None:
        """Starts the process; `other` settings are for this start only."""
        self._address_file.unlink(missing_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MUHGPT_")}
        ours = {
            "LISTEN": self.address,
            "ADDRESS_FILE": str(self._address_file),
            **self.settings,
            **other,
        }
        environment = {**kept, **{f"MUHGPT_{self._kind.upper()}_{name}": value for name, value in ours.items()}}
        environment |= self._environment
        python, place = sys.executable, None
        if self.python is not None:  # which must not find the code that lies here
            environment.pop("PYTHONPATH", None)
            environment["PYTHONSAFEPATH"] = "1"
            python, place = str(self.python), self.log.parent
        # Through the command line's own child.py, so that nothing outlives a test run that is killed.
        tied = (python, "-m", "muhgpt_cli.local.child", str(os.getpid()))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*tied, python, "-m", f"services.{self._kind}.main"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=place,
            )

    async def serving(self) -> None:
        """Returns when it serves."""
        deadline = asyncio.get_running_loop().time() + START
        while not self._address_file.exists():
            assert self.running, f"{self.name} ended:\n{self.last_words()}"
            assert asyncio.get_running_loop().time() < deadline, f"{self.name} does not serve:\n{self.last_words()}"
            await asyncio.sleep(0.02)

    def family(self) -> list[psutil.Process]:
        """The processes that it started, and theirs."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """SIGKILL to it and all that it started, and waits for their end."""
        if self._process is None:
            return
        family = self.family()
        for process in (self._process, *family):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait(STOP)
        psutil.wait_procs(family, timeout=STOP)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Connections stay open and nothing is said: SIGSTOP to its main process."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM: asks it to drain."""
        if self.running:
            assert self._process is not None
            self._process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Waits for its end and gives the exit code."""
        assert self._process is not None
        async with asyncio.timeout(STOP):
            while (code := self._process.poll()) is None:  # noqa: ASYNC110  (what is waited for is a process)
                await asyncio.sleep(0.02)
        return code

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-3000:] if self.log.exists() else "(no log)"


def free_port() -> int:
    """A port of loopback that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
