"""The directory of a local system: tokens, databases, logs, and while it runs who runs it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from muhgpt_cli.errors import CliError
from muhgpt_cli.system import OPERATOR_TOKEN_FILE, RUN_FILE
from servicekit.errors import StartupError
from servicekit.rpc.address import SocketPath

SOCKETS = "sockets"
LONGEST_SOCKET = "inference.sock"
LOG_BYTES_KEPT = 10 * 1024 * 1024


class DataDir:
    """Paths and what is kept at them. Everything in it can be read by its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.operator_token = self.path / OPERATOR_TOKEN_FILE
        self.edge_token = self.path / "edge.token"
        self.run_file = self.path / RUN_FILE
        self.models_file = self.path / "models.yaml"  # this directory's own model list, where there is one
        self._sockets = self.path / SOCKETS

    def prepare(self) -> None:
        """Makes what is missing. Raises CliError when the directory cannot be written."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.log("").parent.mkdir(mode=0o700, exist_ok=True)
            for token in (self.operator_token, self.edge_token):
                _make_secret(token)
            self._sockets = _socket_folder(self.path)
        except OSError as error:
            raise CliError(
                f"cannot write to the data directory {self.path}: {error.strerror}; choose another with --data-dir"
            ) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the directory for this process; the lock goes with the process, even after kill -9. Raises CliError."""
        with (self.path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                run = self.read_run() or {}
                who = f" (process {run['pid']}, {run['base_url']})" if "pid" in run else ""
                raise CliError(
                    f"a system already runs in {self.path}{who}; use it, stop it, or choose another --data-dir"
                ) from None
            yield

    def log(self, service: str) -> Path:
        """The file that takes a service's log."""
        return self.path / "logs" / f"{service}.log"

    def open_log(self, service: str) -> int:
        """A descriptor to append to a service's log; one above 10 MiB is first set aside as <service>.log.1.

        Where no log can be written the service runs without.
        """
        path = self.log(service)
        try:
            if path.exists() and path.stat().st_size > LOG_BYTES_KEPT:
                os.replace(path, path.with_suffix(".log.1"))
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            return os.open(os.devnull, os.O_WRONLY)

    def socket(self, service: str) -> str:
        """Where a service listens, as "unix:/path": a socket that only this user reaches. After prepare()."""
        return str(SocketPath(self._sockets / f"{service}.sock"))

    def address_file(self, service: str) -> Path:
        """Where a service writes its address once it serves."""
        return self.path / f"{service}.address"

    def database(self, service: str) -> str:
        """The URL of a service's database."""
        return f"sqlite:///{quote(os.fsencode(self.path / f'{service}.db'))}"

    def read_run(self) -> dict[str, Any] | None:
        """Who runs here, or who ran here and was killed; None when nobody."""
        try:
            run: dict[str, Any] = json.loads(self.run_file.read_text())
        except (OSError, ValueError):
            return None
        return run

    def write_run(self, run: dict[str, Any]) -> None:
        """Tells the other commands where everything is. Raises OSError."""
        scratch = self.run_file.with_suffix(".tmp")
        scratch.write_text(json.dumps(run, indent=2) + "\n")
        os.replace(scratch, self.run_file)

    def forget_run(self) -> None:
        """Nobody runs here any more."""
        self.run_file.unlink(missing_ok=True)


def _make_secret(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")


def _socket_folder(data_dir: Path) -> Path:
    """A folder for sockets that only this user can enter: in the data directory, or where its path is too long or too
    odd for a socket, a short one, the same at each start. Raises OSError."""
    name = f"muhgpt-{os.geteuid()}-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    temporary = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"]
    for folder in (data_dir / SOCKETS, *(Path(parent) / name for parent in temporary if parent)):
        if SocketPath.possible(str(folder / LONGEST_SOCKET)) and _make_private(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="muhgpt-", dir="/tmp"))


def _make_private(folder: Path) -> bool:
    """Whether the folder is there, or was made, belongs to this user alone, and can hold sockets."""
    probe = folder / "probe.sock"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        SocketPath(probe).check_private()
        probe.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(probe))
        probe.unlink()
    except (OSError, StartupError):
        return False
    return True
