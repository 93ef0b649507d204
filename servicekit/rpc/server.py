"""A gRPC server with everything that each service wants the same: health, reflection, guards, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from servicekit.errors import StartupError
from servicekit.observability.logging import get_logger
from servicekit.observability.metrics import CERTIFICATE_EXPIRES
from servicekit.process.collector import settle_collector
from servicekit.rpc.access import AccessList, Tokens
from servicekit.rpc.address import Address, Endpoint, SocketPath, parse_endpoint
from servicekit.rpc.health import Health, HealthPort
from servicekit.rpc.interceptors import CallGuard
from servicekit.rpc.service_names import UnderNewName, new_name
from servicekit.tls.directory import TlsDirectory

log = get_logger(__name__)

OPTIONS = [
    ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # clients ping every 10 s (client.py)
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # while a ping that measures bandwidth is out, no keepalive is sent
]


WRITE_AGAIN = 1.0  # seconds


class Server:
    """Start, serve, drain.

    `draining` is set when the process was asked to stop: streams tell their peers and end when these have left. What is
    still open after `drain_timeout` seconds is cut. With `tls` callers are known by their certificates, and tokens are
    not looked at. `plaintext` allows to listen without TLS beyond loopback. With `health_listen` there is a port for
    probes, and `health_address` tells where.
    """

    def __init__(
        self,
        *,
        name: str,
        listen: str,
        tokens: Tokens | None,
        tls: TlsDirectory | None = None,
        plaintext: bool = False,
        health_listen: str | None = None,
        drain_timeout: float = 30.0,
        max_message_bytes: int = 4 * 1024 * 1024,
        address_file: Path | None = None,
    ) -> None:
        self.draining = asyncio.Event()
        self._name = name
        self._setting = f"MUHGPT_{name.upper()}_"
        self._listen = parse_endpoint(listen)
        self._tls = tls
        self._plaintext = plaintext
        self._drain_timeout = drain_timeout
        self._address_file = address_file
        self._access = AccessList(tokens if tls is None else None)
        self._names: list[str] = []
        self._new_names: list[str] = []
        self._health = Health()
        self._health_port = (
            HealthPort(self._health, health_listen, f"{self._setting}HEALTH_LISTEN") if health_listen else None
        )
        self.address = ""  # once it serves
        self.health_address: str | None = None
        self._server = grpc.aio.server(
            interceptors=[CallGuard(f"{name}.muhgpt", self._access)],
            options=[*OPTIONS, ("grpc.max_receive_message_length", max_message_bytes)],
        )

    def add(self, servicer: Any, add_to_server: Callable[[Any, Any], None], service: ServiceDescriptor) -> None:
        """Adds a servicer; who may call which method comes from the descriptor's options.

        One whose released name does not end in `Service` is served under the name that does as well.
        """
        self._access.add(service, service.full_name)
        self._names.append(service.full_name)
        add_to_server(servicer, self._server)
        if name := new_name(service.full_name):
            self._access.add(service, name)
            self._new_names.append(name)
            add_to_server(servicer, UnderNewName(self._server, name))

    async def start(self) -> str:
        """Serves; returns the bound address as "host:port" or "unix:/path".

        Raises StartupError: port taken, plaintext not allowed.
        """
        self._check_plaintext()
        self._health.add_to(self._server)
        reflection.enable_server_reflection((*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        await self._health.alive([*self._names, *self._new_names])
        if self._health_port is not None:
            self.health_address = str(await self._health_port.start())
        if self._tls is not None:
            CERTIFICATE_EXPIRES.labels(self._name).set_function(_expiry(self._tls))
        self.address = str(self._bind())
        await self._server.start()
        await self._health.serving()
        self._write_address()
        log.info("serving", address=self.address, tls=self._tls is not None, health=self.health_address)
        return self.address

    async def stop(self) -> None:
        """Drains: not ready, peers told, open calls waited for up to drain_timeout, then cut."""
        log.info("draining", seconds=self._drain_timeout)
        self.draining.set()
        await self._health.draining()
        await self._server.stop(self._drain_timeout)
        if self._health_port is not None:
            await self._health_port.stop()
        log.info("stopped")

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then drains."""
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        await self.start()
        settle_collector()
        await asked.wait()
        await self.stop()

    def _bind(self) -> Endpoint:
        if isinstance(self._listen, SocketPath):
            return self._bind_socket(self._listen)
        try:
            return Address(self._listen.host, self._add_port())
        except RuntimeError:
            raise StartupError(
                f"{self._name} cannot listen on {self._listen}: the port is in use or the host is not this machine's; "
                f"stop what listens there or set {self._setting}LISTEN to another host:port"
            ) from None

    def _bind_socket(self, listen: SocketPath) -> SocketPath:
        """gRPC takes over what lies at the path, also from a server that runs."""
        listen.check_private()
        if listen.in_use():
            raise StartupError(f"{self._name} cannot listen on {listen}: another process does; stop it")
        try:
            self._add_port()
            listen.path.chmod(0o600)
        except (RuntimeError, OSError):
            raise StartupError(f"{self._name} cannot listen on {listen}: no socket can be made there") from None
        return listen

    def _add_port(self) -> int:
        if self._tls is None:
            return int(self._server.add_insecure_port(str(self._listen)))
        return int(self._server.add_secure_port(str(self._listen), self._tls.server_credentials()))

    def _check_plaintext(self) -> None:
        if self._tls is None and not self._plaintext and not self._listen.loopback:
            raise StartupError(
                f"{self._name} would listen on {self._listen} in plaintext: name its certificate with "
                f"{self._setting}TLS_DIRECTORY, or allow it with {self._setting}PLAINTEXT=true"
            )

    def _write_address(self) -> None:
        """Where the disk is full, again when it is not: whoever waits for the file waits, and nobody else is hurt."""
        if self._address_file is None:
            return
        try:
            scratch = self._address_file.with_suffix(".tmp")
            scratch.write_text(self.address)
            os.replace(scratch, self._address_file)
        except OSError as error:
            log.error("address_not_written", file=str(self._address_file), error=error.strerror)
            asyncio.get_running_loop().call_later(WRITE_AGAIN, self._write_address)


def _expiry(tls: TlsDirectory) -> Callable[[], float]:
    """Looks at the files when somebody asks, so that the metric is right though nobody connects."""
    return lambda: tls.current().expires
