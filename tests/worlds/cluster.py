"""The whole platform as real processes that a test may kill: services, replicas, edges with workers, databases."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from servicekit.tls.directory import TlsDirectory
from tests.certificates import ROLES, Authority, certificate, write_files
from tests.worlds.parts.office import Office
from tests.worlds.parts.postgres import Postgres
from tests.worlds.parts.proxy import Proxy
from tests.worlds.parts.service import Service

READY = 60.0  # seconds until all is well again
STEADY = 1.2  # seconds of being ready after a fault: an edge counts as ready for one second after it lost a peer
IN_A_ROW = 6  # answers of an edge's /readyz, each on a connection of its own, since each worker has its own view


@dataclass(frozen=True)
class Shape:
    """What runs. Replicas need PostgreSQL, but for inference. With `tls` every service has a certificate.

    Every edge but the first reaches auth and quota through proxies, unless `proxied` is False. `data` is the folder of
    SQLite's files, None: beside the logs. `environment` is for the processes of one role; `pythons` are interpreters
    of environments with another version in them, by the kind of service that they run.
    """

    database: str
    auths: int = 1
    quotas: int = 1
    inferences: int = 1
    workers: tuple[int, ...] = (4, 2)  # of each edge
    tls: bool = False
    proxied: bool = True
    data: Path | None = None
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pythons: Mapping[str, Path] = field(default_factory=dict)


class Cluster:
    """Make with `running(shape, folder)`.

    Roles are "auth", "quota-1", "quota-2", "inference", "edge-1", "edge-2", "postgres", and two that their service
    replaces itself: "edge-1/worker" and "inference/llama". With several of auth or inference they are numbered, too.
    `authority` signs the certificates in the folders `tls/<role of the certificate>`.
    """

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.token = secrets.token_urlsafe(24)
        self.postgres = Postgres() if shape.database == "postgresql" else None
        self.proxies: dict[str, Proxy] = {}
        self._folder = folder
        self._hurt = False
        self.edge_kills: list[tuple[str, float]] = []  # the edge's address, Unix seconds
        self._services: dict[str, Service] = {}
        self._replaced: dict[str, set[int]] = {}  # role of a worker: pids before the kill
        self.authority = Authority()
        if shape.tls:
            self.certify(self.authority)
        for who in ("edge", "operator"):
            (folder / f"{who}.token").write_text(self.token if who == "operator" else secrets.token_urlsafe(24))

    # Life

    async def start(self) -> None:
        """Starts everything and waits until requests can be served."""
        await self._add_databases()
        kinds = {"auth": self.shape.auths, "quota": self.shape.quotas, "inference": self.shape.inferences}
        backends = [self._backend(name, kind) for kind, count in kinds.items() for name in _names(kind, count)]
        # The first of each is alone when the tables are made.
        for service in backends:
            service.spawn()
            if service.name in ("auth-1", "quota-1"):
                await service.serving()
        await asyncio.gather(*(service.serving() for service in backends))
        for number, workers in enumerate(self.shape.workers, 1):
            (await self._edge(number, workers)).spawn()
        tls = TlsDirectory(self.tls_folder("operator"), "operator") if self.shape.tls else None
        auth = _names("auth", self.shape.auths)[-1]
        self.office = Office(self.address(auth), self.address("quota-1"), self.token, tls)
        await self.healed()

    async def stop(self) -> None:
        """Ends all processes, by their numbers, whatever state they are in."""
        for service in reversed(self._services.values()):
            service.kill()
        if self.postgres is not None:
            self.postgres.remove()
        for proxy in self.proxies.values():
            await proxy.close()
        if hasattr(self, "office"):
            await self.office.close()

    async def healed(self) -> None:
        """Ends every fault: starts what is dead, mends the wires, and waits until all edges are ready."""
        hurt = self._hurt or any(proxy.hurt for proxy in self.proxies.values())
        self._hurt = False
        for proxy in self.proxies.values():
            await proxy.mend()
        if self.postgres is not None:
            await self.postgres.start()
        for service in self._services.values():
            if not service.running:
                service.spawn()
        await asyncio.gather(*(service.serving() for service in self._services.values()))
        await self.ready(STEADY if hurt else 0.0)

    async def ready(self, steady: float = STEADY) -> None:
        """Waits until every edge has found all that it needs, for so many seconds without a break."""
        async with asyncio.timeout(READY):
            await asyncio.gather(*(self._edge_ready(name, steady) for name in self.edges))

    # What is where

    @property
    def edges(self) -> list[str]:
        """The edges' roles."""
        return [name for name in self._services if name.startswith("edge")]

    def address(self, role: str) -> str:
        """host:port of a service."""
        return self._services[role].address

    def log(self, role: str) -> str:
        """All that a service has logged."""
        return self._services[role].log.read_text()

    def pids(self, role: str) -> list[int]:
        """The processes of a role; for a service all that it started, too."""
        if role == "postgres":
            assert self.postgres is not None
            return [self.postgres.pid]
        name, _, part = role.partition("/")
        service = self._services[name]
        if part:
            return [process.pid for process in service.family() if _is(process, part)]
        return [service.pid, *(process.pid for process in service.family())]

    def tls_folder(self, role: str) -> Path:
        """The certificate of a role: auth, quota, inference, edge or operator."""
        return self._folder / "tls" / role

    def certify(self, authority: Authority, trust: Sequence[Authority] = ()) -> None:
        """New certificates for every role, exchanged as Kubernetes does it; `trust` are believed besides."""
        bundle = b"".join(each.pem for each in (authority, *trust))
        for role in ROLES:
            write_files(self.tls_folder(role), {**certificate(role, authority).files(), "ca.crt": bundle})

    def service(self, role: str) -> Service:
        """The process of a role."""
        return self._services[role]

    # Faults

    def kill(self, role: str) -> None:
        """kill -9. Of a service with all its processes, of a worker only one, the first."""
        self._hurt = True
        if role.startswith("edge"):
            self.edge_kills.append((self.address(role.partition("/")[0]), time.time()))
        if role == "postgres":
            assert self.postgres is not None
            self.postgres.signal(signal.SIGKILL)
        elif "/" in role:
            before = self.pids(role)
            self._replaced[role] = set(before)
            os.kill(before[0], signal.SIGKILL)
        else:
            self._services[role].kill()

    async def restart(self, role: str, **settings: str) -> None:
        """Starts what was killed at its old address (a worker: waits for its replacement) and returns when it serves.

        `settings` are for this start only.
        """
        if role == "postgres":
            assert self.postgres is not None
            await self.postgres.start()
        elif "/" in role:
            async with asyncio.timeout(READY):
                while not self._is_replaced(role):  # noqa: ASYNC110  (what is waited for are processes)
                    await asyncio.sleep(0.02)  # it may not serve yet: the next kill may find it at its start
        else:
            service = self._services[role]
            if service.running:
                service.kill()
            service.spawn(**settings)
            await service.serving()

    def _is_replaced(self, role: str) -> bool:
        before, now = self._replaced[role], set(self.pids(role))
        return len(now) == len(before) and now != before

    # Inside

    async def _add_databases(self) -> None:
        if self.postgres is not None:
            await self.postgres.start()
            for name in ("auth", "quota"):
                await self.postgres.create(name)

    def _backend(self, name: str, kind: str) -> Service:
        settings = self._identity(kind)
        if kind != "inference":
            file = (self.shape.data or self._folder) / f"{kind}.db"
            settings["DATABASE_URL"] = self.postgres.url(kind) if self.postgres else f"sqlite:///{file}"
        return self._add(self._service(name, kind, settings))

    async def _edge(self, number: int, workers: int) -> Service:
        name = f"edge-{number}"
        quotas, auths, inferences = (self._addresses(kind) for kind in ("quota", "auth", "inference"))
        if number > 1 and self.shape.proxied:
            quotas = [await self._proxy(f"{name}→quota-{index}", each) for index, each in enumerate(quotas, 1)]
            auths = [
                await self._proxy(f"{name}→{role}", each) for role, each in zip(self._roles("auth"), auths, strict=True)
            ]
        settings = {
            **self._identity("edge"),
            "WORKERS": str(workers),
            "AUTH_ADDRESS": ",".join(auths),
            "QUOTA_ADDRESS": ",".join(quotas),
            "INFERENCE_ADDRESS": ",".join(inferences),
        }
        return self._add(self._service(name, "edge", settings))

    def _service(self, name: str, kind: str, settings: dict[str, str]) -> Service:
        besides = self.shape.environment.get(name, {})
        return Service(name, kind, self._folder, settings, besides, self.shape.pythons.get(kind))

    def _identity(self, kind: str) -> dict[str, str]:
        """How a service knows its callers, or is known."""
        if self.shape.tls:
            return {"TLS_DIRECTORY": str(self.tls_folder(kind))}
        settings = {"EDGE_TOKEN_FILE": str(self._folder / "edge.token")}
        if kind != "edge":
            settings["OPERATOR_TOKEN_FILE"] = str(self._folder / "operator.token")
        return settings

    def _roles(self, kind: str) -> list[str]:
        return [name for name in self._services if name.partition("-")[0] == kind]

    def _addresses(self, kind: str) -> list[str]:
        return [self.address(role) for role in self._roles(kind)]

    async def _proxy(self, name: str, target: str) -> str:
        proxy = self.proxies[name] = Proxy(target)
        await proxy.start()
        return proxy.address

    def _add(self, service: Service) -> Service:
        self._services[service.name] = service
        return service

    async def _edge_ready(self, name: str, steady: float) -> None:
        loop = asyncio.get_running_loop()
        ready, since = 0, loop.time()
        while ready < IN_A_ROW or loop.time() - since < steady:
            if await _says_ready(self.address(name)):
                ready += 1
            else:
                ready, since = 0, loop.time()
            await asyncio.sleep(0.02)


def _names(kind: str, count: int) -> list[str]:
    """The replicas' roles. quota's are always numbered."""
    return [kind] if count == 1 and kind != "quota" else [f"{kind}-{number + 1}" for number in range(count)]


async def _says_ready(address: str) -> bool:
    """One question on a connection of its own."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(f"GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n".encode())
                return b'{"status":"ok"}' in await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _is(process: psutil.Process, part: str) -> bool:
    """Whether a process is the part of its service that a role names."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        words = " ".join(process.cmdline())
        return ("spawn_main" if part == "worker" else "llama") in words
    return False


@asynccontextmanager
async def running(shape: Shape, folder: Path) -> AsyncIterator[Cluster]:
    """Starts a cluster, and ends it whatever happens."""
    cluster = Cluster(shape, folder)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
