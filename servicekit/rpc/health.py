"""Health for probes: whether requests may be sent here, and whether the process is alive, as two named services.

Kubernetes' gRPC probes speak no TLS, so a port of its own can tell it in plaintext; it tells nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from servicekit.errors import StartupError
from servicekit.rpc.address import Address

READINESS = "readiness"  # as "" and the names of the services: whether requests may be sent
LIVENESS = "liveness"  # serving while draining, too: the process is not to be killed for it

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """What grpc.health.v1 answers, on as many servers as it is added to."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self._names: list[str] = ["", READINESS]

    def add_to(self, server: grpc.aio.Server) -> None:
        """Answers health checks there."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def alive(self, services: Iterable[str]) -> None:
        """The process lives and does not serve yet. `services` are the full names of what it will serve."""
        self._names += services
        await self._servicer.set(LIVENESS, _SERVING)
        await self._ready(_NOT_SERVING)

    async def serving(self) -> None:
        """Requests may be sent."""
        await self._ready(_SERVING)

    async def draining(self) -> None:
        """No new requests; those that run go on."""
        await self._ready(_NOT_SERVING)

    async def _ready(self, status: Any) -> None:
        for name in self._names:
            await self._servicer.set(name, status)


class HealthPort:
    """Health alone, in plaintext, on a port of its own."""

    def __init__(self, health: Health, listen: str, setting: str) -> None:
        """`setting` is the variable to change when the port is taken."""
        self._address = Address.parse(listen)
        self._setting = setting
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        health.add_to(self._server)

    async def start(self) -> Address:
        """Serves; returns the bound address. Raises StartupError when the port is taken."""
        try:
            port = self._server.add_insecure_port(str(self._address))
        except RuntimeError:
            raise StartupError(
                f"cannot serve health on {self._address}: the port is in use or the host is not this machine's; "
                f"stop what listens there or set {self._setting} to another host:port"
            ) from None
        await self._server.start()
        return Address(self._address.host, int(port))

    async def stop(self) -> None:
        """Stops at once: who watches sees the end."""
        await self._server.stop(None)
