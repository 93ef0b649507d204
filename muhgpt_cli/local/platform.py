"""The platform on one machine, from the first start to the last stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from common.model_list import load_model_list
from muhgpt.auth.v1 import auth_pb2
from muhgpt_cli import streams
from muhgpt_cli.commands.keys import take_back
from muhgpt_cli.edge_client import http_client
from muhgpt_cli.errors import CliError
from muhgpt_cli.local.announce import Announcer
from muhgpt_cli.local.data_dir import DataDir
from muhgpt_cli.local.first_start import EMAIL, first_key
from muhgpt_cli.local.preflight import for_services
from muhgpt_cli.local.service import ServiceProcess, python
from muhgpt_cli.local.stale_processes import end_leftovers
from muhgpt_cli.local.supervisor import Supervisor
from muhgpt_cli.local.terminal import Terminal
from muhgpt_cli.operator_client import Operator
from muhgpt_cli.output import OutputLost
from muhgpt_cli.system import System
from servicekit.clock import Clock, to_datetime
from servicekit.errors import StartupError
from servicekit.rpc.address import Address

START_TIMEOUT = 60.0  # seconds
LONG_START_TIMEOUT = 900.0  # a large model is loaded, or a large database copied and migrated, from a slow disk
READY_TIMEOUT = 30.0
WRITE_AGAIN = 5.0  # seconds
POLL = 0.05
DEFAULT_DRAIN_TIMEOUT = 30.0
MODELS_FILES = ("MUHGPT_QUOTA_MODELS_FILE", "MUHGPT_INFERENCE_MODELS_FILE")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Options:
    """What `muhgpt up` was asked for."""

    host: str
    port: int
    data_dir: Path
    workers: int
    models: Path | None
    environment: dict[str, str]


class Platform:
    """Four services in one data directory."""

    def __init__(self, options: Options, announcer: Announcer, clock: Clock) -> None:
        self._options = options
        self._announcer = announcer
        self._clock = clock
        self._started = clock.now_us()
        self._data_dir = DataDir(options.data_dir)
        self._models = _model_list(options, self._data_dir)
        self._backends = [self._backend(name) for name in ("auth", "quota", "inference")]
        self._edge = self._service("edge", {}, START_TIMEOUT)
        self._serving = False
        self._terminal = Terminal()
        self._supervisor = Supervisor(
            self._backends,
            self._edge,
            drain_timeout=_drain_timeout(options.environment),
            clock=clock,
            tell=announcer.progress,
        )

    async def run(self) -> None:
        """Runs until SIGINT, SIGTERM or the end of its terminal, and ends everything. Any other SIGHUP has the model
        list read again. Raises CliError when a service cannot run."""
        os.umask(0o077)  # whatever is written here, by the services too, is for its owner alone
        self._data_dir.prepare()
        for service in self._backends:
            service.address = self._data_dir.socket(service.name)
        with self._data_dir.locked():
            if left := self._data_dir.read_run():
                self._announcer.progress("ending what an earlier start left behind")
                end_leftovers(left, self._clock)
            try:
                await self._until_asked(self._start_and_watch())
            finally:
                self._serving = False
                await self._supervisor.stop()
                self._data_dir.forget_run()
                self._announcer.settle()

    async def _until_asked(self, running: Coroutine[Any, Any, None]) -> None:
        """Runs it until it fails or a signal asks for the end; a second signal does not wait for open streams."""
        task = asyncio.create_task(running)

        def ask() -> None:
            if task.done() or task.cancelling():
                self._supervisor.kill()
            else:
                self._announcer.event("stopping; open streams may finish (again to stop at once)")
                task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ask)
        loop.add_signal_handler(signal.SIGHUP, lambda: ask() if self._terminal.has_gone() else self._reload())
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _start_and_watch(self) -> None:
        await self._supervisor.start_backends()
        self._edge.environment = self._edge_environment()
        await self._supervisor.start_edge()
        await self._until_ready()
        addresses = {service.name: str(service.address) for service in self._backends}
        system = System(str(self._data_dir.path), addresses, self._base_url(), self._token())
        key = await first_key(system)
        self._write_run()
        try:
            self._announcer.ready(self._base_url(), key.secret if key else None, EMAIL, str(self._data_dir.path))
        except OutputLost as lost:
            await self._ready_unseen(lost, system, key)
        self._supervisor.changed = self._write_run
        self._supervisor.tell = self._announcer.event
        self._serving = True
        await self._supervisor.watch()

    async def _ready_unseen(self, lost: OutputLost, system: System, key: auth_pb2.CreateKeyResponse | None) -> None:
        """It serves all the same; a key that nobody saw is not left behind."""
        streams.forget_output()
        self._announcer.event(f"{lost}; the system is ready at {self._base_url()}")
        if key is not None:
            async with Operator(system) as operator:
                self._announcer.event(await take_back(operator, key.key.key_id))

    def _reload(self) -> None:
        """Has quota and inference read the model list again: quota first, so that a new model has its price."""
        quota, inference = self._backends[1:]
        if not self._serving:
            self._announcer.event("still starting; send SIGHUP again when the system is ready")
            return
        if self._models is None and self._data_dir.models_file.exists():
            self._announcer.event(f"{self._data_dir.models_file} was made after the start; stop and start to use it")
            return
        try:
            if self._models is not None:
                load_model_list(self._models)
        except StartupError as error:
            self._announcer.event(f"the model list was not read again: {error}")
            return
        for service in (quota, inference):
            service.send(signal.SIGHUP)
        what = self._models or "the model list"
        self._announcer.event(f"reading {what} again; {inference.log} tells when new models serve")

    async def _until_ready(self) -> None:
        """Waits until the edge has found its peers. Raises CliError with its last answer."""
        until, said = self._clock.monotonic() + READY_TIMEOUT, "nothing"
        async with http_client(self._base_url(), timeout=2.0) as client:
            while self._clock.monotonic() < until:
                try:
                    answer = await client.get(self._base_url().removesuffix("/v1") + "/readyz")
                except httpx.HTTPError as error:
                    said = type(error).__name__
                else:
                    if answer.status_code == httpx.codes.OK:
                        return
                    said = f"HTTP {answer.status_code}: {answer.text[:300]}"
                await asyncio.sleep(POLL)
        raise CliError(f"the edge was not ready within {READY_TIMEOUT:.0f} s ({said}); its log: {self._edge.log}")

    def _backend(self, name: str) -> ServiceProcess:
        prefix = f"MUHGPT_{name.upper()}_"
        environment = {
            **for_services(self._options.environment),
            f"{prefix}EDGE_TOKEN_FILE": str(self._data_dir.edge_token),
            f"{prefix}OPERATOR_TOKEN_FILE": str(self._data_dir.operator_token),
        }
        if name != "inference":
            url = environment.setdefault(f"{prefix}DATABASE_URL", self._data_dir.database(name))
            if url.startswith("sqlite"):  # nothing older runs beside it, and there is a copy to go back to
                environment.setdefault(f"{prefix}NEWER_SCHEMA", "refuse")
        if name != "auth" and self._models is not None:
            environment[f"{prefix}MODELS_FILE"] = str(self._models)
        return self._service(name, environment, LONG_START_TIMEOUT)

    def _service(self, name: str, environment: dict[str, str], timeout: float) -> ServiceProcess:
        return ServiceProcess(name, python("-m", f"services.{name}.main"), environment, self._data_dir, timeout)

    def _edge_environment(self) -> dict[str, str]:
        peers = {f"MUHGPT_EDGE_{peer.name.upper()}_ADDRESS": str(peer.address) for peer in self._backends}
        return {
            **for_services(self._options.environment),
            **peers,
            "MUHGPT_EDGE_LISTEN": str(Address(self._options.host, self._options.port)),
            "MUHGPT_EDGE_WORKERS": str(self._options.workers),
            "MUHGPT_EDGE_EDGE_TOKEN_FILE": str(self._data_dir.edge_token),
        }

    def _base_url(self) -> str:
        """As this machine reaches the API."""
        address = Address.parse(str(self._edge.address))
        return f"http://{Address(EVERYWHERE.get(address.host, address.host), address.port)}/v1"

    def _token(self) -> str:
        return self._data_dir.operator_token.read_text().strip()

    def _write_run(self) -> None:
        """A disk that is full ends nothing; other commands find the system once there is room and it is written."""
        try:
            self._data_dir.write_run(self._run())
        except OSError as error:
            self._announcer.event(f"cannot write {self._data_dir.run_file}: {error.strerror}; trying again")
            asyncio.get_running_loop().call_later(WRITE_AGAIN, self._write_run_again)

    def _write_run_again(self) -> None:
        if self._serving:
            self._write_run()

    def _run(self) -> dict[str, Any]:
        services = (*self._backends, self._edge)
        return {
            "version": version("muhgpt"),
            "pid": os.getpid(),
            "base_url": self._base_url(),
            "models": str(self._models) if self._models else None,
            "addresses": {service.name: service.address for service in services},
            "pids": {service.name: service.pid for service in services},
            "started_at": to_datetime(self._started).isoformat(timespec="seconds"),
        }


def _model_list(options: Options, data_dir: DataDir) -> Path | None:
    """The list that quota and inference are given: --models, else the data directory's own, which `muhgpt models pull`
    makes. None: what the environment names for each of them, else the list that is shipped."""
    if options.models is not None:
        return Path(os.path.realpath(options.models))
    if data_dir.models_file.exists() and not any(name in options.environment for name in MODELS_FILES):
        return Path(os.path.realpath(data_dir.models_file))
    return None


def _drain_timeout(environment: Mapping[str, str]) -> float:
    """Seconds that the edge gives open streams; what is no number is refused by the edge itself."""
    try:
        return float(environment.get("MUHGPT_EDGE_DRAIN_TIMEOUT", ""))
    except ValueError:
        return DEFAULT_DRAIN_TIMEOUT
