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
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from servicekit.access import AccessList, Tokens
from servicekit.address import Address
from servicekit.errors import StartupError
from servicekit.interceptors import CallGuard
from servicekit.logging import get_logger
from servicekit.tls import TlsFiles

log = get_logger(__name__)

OPTIONS = [
    ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # clients ping every 10 s (client.py)
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


class Server:
    """Start, serve, drain.

    `draining` is set when the process was asked to stop: streams tell their peers and end when these have left. What is
    still open after `drain_timeout` seconds is cut.
    """

    def __init__(
        self,
        *,
        name: str,
        listen: str,
        tokens: Tokens,
        tls: TlsFiles | None = None,
        drain_timeout: float = 30.0,
        max_message_bytes: int = 4 * 1024 * 1024,
        address_file: Path | None = None,
    ) -> None:
        self.draining = asyncio.Event()
        self._name = name
        self._listen = Address.parse(listen)
        self._tls = tls
        self._drain_timeout = drain_timeout
        self._address_file = address_file
        self._access = AccessList(tokens)
        self._names: list[str] = []
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[CallGuard(f"{name}.muhgpt", self._access)],
            options=[*OPTIONS, ("grpc.max_receive_message_length", max_message_bytes)],
        )

    def add(self, servicer: Any, add_to_server: Callable[[Any, Any], None], service: ServiceDescriptor) -> None:
        """Adds a servicer; who may call which method comes from the descriptor's options."""
        self._access.add(service)
        self._names.append(service.full_name)
        add_to_server(servicer, self._server)

    async def start(self) -> str:
        """Serves; returns the bound address as "host:port". Raises StartupError when the port is taken."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        address = Address(self._listen.host, self._bind())
        await self._server.start()
        await self._tell_health(health_pb2.HealthCheckResponse.SERVING)
        self._write_address(address)
        log.info("serving", address=str(address))
        return str(address)

    async def stop(self) -> None:
        """Drains: not ready, peers told, open calls waited for up to drain_timeout, then cut."""
        log.info("draining", seconds=self._drain_timeout)
        self.draining.set()
        await self._tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.stop(self._drain_timeout)
        log.info("stopped")

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then drains."""
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        await self.start()
        await asked.wait()
        await self.stop()

    def _bind(self) -> int:
        try:
            if self._tls is None:
                return int(self._server.add_insecure_port(str(self._listen)))
            return int(self._server.add_secure_port(str(self._listen), self._tls.server_credentials()))
        except RuntimeError:
            raise StartupError(
                f"{self._name} cannot listen on {self._listen}: the port is in use or the host is not this machine's; "
                f"stop what listens there or set MUHGPT_{self._name.upper()}_LISTEN to another host:port"
            ) from None

    async def _tell_health(self, state: Any) -> None:
        for name in ("", *self._names):
            await self._health.set(name, state)

    def _write_address(self, address: Address) -> None:
        if self._address_file is None:
            return
        scratch = self._address_file.with_suffix(".tmp")
        scratch.write_text(str(address))
        os.replace(scratch, self._address_file)
