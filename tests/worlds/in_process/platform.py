"""The world in process: the real auth, quota and inference around scripted engines, and an edge's pipeline to them.

Replicas of one service share their data and listen on one port of several loopback hosts, as pods of a Service do; the
pipeline finds them by name. A test may start and drain them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muhgpt.auth.v1 import auth_pb2, auth_pb2_grpc
from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.clock import SystemClock
from servicekit.database.database import Database, open_database
from servicekit.rpc.client import connect
from servicekit.rpc.server import Server
from services.auth.domain.sessions import SessionPolicy
from services.auth.main import MIGRATIONS as AUTH_MIGRATIONS
from services.auth.main import make_servicer
from services.edge.peers.timings import DEFAULT_TIMINGS, Timings
from services.edge.serving.answer import Answer
from services.edge.serving.order import AnswerOrder
from services.edge.serving.pipeline import Pipeline
from services.quota.domain.pricing import Price, PriceBook
from services.quota.main import MIGRATIONS as QUOTA_MIGRATIONS
from services.quota.running.group_commit import Writer
from services.quota.service import Leases, QuotaServicer
from services.quota.store.reading.reader import Reader
from services.quota.store.sqlite.store import SqliteStore
from tests.fakes_engine import RunningInference, ScriptedEngine, start_inference
from tests.worlds.in_process.auth import DEFAULTS, TOKENS
from tests.worlds.in_process.names import Names
from tests.worlds.in_process.pipeline import chat_request, start_pipeline, streams, until

ONE, TWO = "127.0.0.1", "127.0.0.2"
WORDS = [f"w{number} " for number in range(200)]
TEXT = "".join(WORDS)
PLENTY = 1_000_000  # credits
PROMPT = 5  # credits of the prompt
COST = PROMPT + 3 * len(WORDS)  # of one whole answer
DRAIN = 20.0  # seconds, more than a test takes


@dataclass
class Data:
    """What the replicas of auth and quota share."""

    auth: Database
    quota: Database
    store: SqliteStore
    writer: Writer


@dataclass
class InProcess:
    """Make with start_in_process(). Replicas are named (service, host)."""

    names: Names
    data: Data
    engines: dict[str, ScriptedEngine]
    drain_timeout: float
    session_ttl: float  # seconds that auth waits for a silent edge
    stack: contextlib.AsyncExitStack  # what ends with this world
    servers: dict[tuple[str, str], Server] = field(default_factory=dict)
    inferences: dict[str, RunningInference] = field(default_factory=dict)  # by host
    ports: dict[str, str] = field(default_factory=dict)
    pipeline: Pipeline = field(init=False)
    account_id: str = ""
    key_id: str = ""
    key: str = ""

    async def start(self, service: str, host: str) -> None:
        """One more replica, whose name does not lead to it yet."""
        listen = f"{host}:{self.ports.get(service, '0')}"
        if service == "inference":
            running = await self.stack.enter_async_context(
                start_inference(self.engines[host], listen=listen, drain_timeout=self.drain_timeout)
            )
            self.inferences[host] = running
            server = running.server
        else:
            server = Server(name=service, listen=listen, tokens=TOKENS, drain_timeout=self.drain_timeout)
            (self._add_auth if service == "auth" else self._add_quota)(server)
            await server.start()
            self.stack.push_async_callback(server.stop)
        self.servers[service, host] = server
        self.ports.setdefault(service, server.address.rpartition(":")[2])

    def drain(self, service: str, host: str) -> asyncio.Task[None]:
        """What SIGTERM does. The task ends when the replica has stopped."""
        return asyncio.create_task(self.servers[service, host].stop())

    async def call(self, service: str, method: str, request: Any) -> Any:
        """An operator's call, at a replica that does not drain."""
        serving = [each for (name, _), each in self.servers.items() if name == service and not each.draining.is_set()]
        peer = connect(serving[0].address, token=TOKENS.operator)
        stub = {"auth": auth_pb2_grpc.AuthStub, "quota": quota_pb2_grpc.QuotaStub}[service](peer.channel)
        try:
            return await peer.call(getattr(stub, method), request, timeout=10)
        finally:
            await peer.close()

    async def grant(self, credits: int, account_id: str = "") -> None:
        """Credits for an account, the first unless named."""
        account = account_id or self.account_id
        grant = quota_pb2.GrantRequest(grant_id=f"g{credits}-{account}", account_id=account, credits=credits)
        await self.call("quota", "Grant", grant)

    async def account(self, email: str, **limits: int) -> str:
        """One more account; returns its id."""
        request = auth_pb2.CreateAccountRequest(email=email, **limits)
        return str((await self.call("auth", "CreateAccount", request)).account.account_id)

    async def key_of(self, account_id: str) -> auth_pb2.CreateKeyResponse:
        """One more key of an account."""
        made: auth_pb2.CreateKeyResponse = await self.call(
            "auth", "CreateKey", auth_pb2.CreateKeyRequest(account_id=account_id)
        )
        return made

    async def open(self, *, text: str = "hello there", streamed: bool = True, key: str = "") -> Answer:
        """The whole way to a running answer; with the first account's key unless one is given."""
        caller = await self.pipeline.authenticate(f"Bearer {key or self.key}")
        model = self.pipeline.resolve(caller, "muh-chat")
        order = AnswerOrder(
            request=chat_request(model.model, text),
            alias="muh-chat",
            max_tokens=None,
            choices=1,
            streamed=streamed,
            request_id="req",
            deadline=SystemClock().monotonic() + 60,
        )
        return await self.pipeline.open(caller, order)

    @property
    def engine(self) -> ScriptedEngine:
        """Of the first replica."""
        return self.engines[ONE]

    def address(self, service: str) -> str:
        """host:port of the first replica of a service."""
        return self.servers[service, ONE].address

    async def balance(self) -> int:
        """Credits of the account, as the edge reads them."""
        caller = await self.pipeline.authenticate(f"Bearer {self.key}")
        return (await self.pipeline.usage(caller, "2026-01-01", "2026-12-31")).balance

    async def charged(self) -> int:
        """Credits charged once every hold has ended, after a recount that found the books in order and nothing held."""
        await until(lambda: not self.pipeline.unfinished_holds)
        books = await self.call("quota", "CheckBooks", quota_pb2.CheckBooksRequest())
        assert books.balanced
        assert (books.held, books.open_holds) == (0, 0)
        return int(books.charged)

    async def settled(self) -> None:
        """Returns when a session is open to every named replica of quota and inference, at home."""
        for service in ("quota", "inference"):
            await until(lambda service=service: self._named(service) == self._at_home(service))

    def _at_home(self, service: str) -> list[str]:
        """The replicas that take new work over a stream to themselves."""
        return sorted(each.home for each in streams(self.pipeline, service) if each.usable and each.at == each.home)

    def _named(self, service: str) -> list[str]:
        return [f"{host}:{self.ports[service]}" for host in self.names.hosts[service] or []]

    def _add_auth(self, server: Server) -> None:
        servicer = make_servicer(
            self.data.auth,
            policy=SessionPolicy(ttl=self.session_ttl),
            defaults=DEFAULTS,
            draining=server.draining,
            clock=SystemClock(),
            random_bytes=secrets.token_bytes,
        )
        server.add(servicer, auth_pb2_grpc.add_AuthServicer_to_server, auth_pb2.DESCRIPTOR.services_by_name["Auth"])

    def _add_quota(self, server: Server) -> None:
        servicer = QuotaServicer(
            store=self.data.store,
            reader=Reader(self.data.quota),
            writer=self.data.writer,
            prices=PriceBook({"muh-chat": Price(1_000_000, 3_000_000)}),
            leases=Leases(10.0, 3.0),
            clock=SystemClock(),
            draining=server.draining,
        )
        server.add(servicer, quota_pb2_grpc.add_QuotaServicer_to_server, quota_pb2.DESCRIPTOR.services_by_name["Quota"])


@contextlib.asynccontextmanager
async def start_in_process(
    folder: Path,
    *,
    engine: ScriptedEngine | None = None,
    credits: int = PLENTY,
    drain_timeout: float = DRAIN,
    session_ttl: float = 5.0,
    timings: Timings = DEFAULT_TIMINGS,
    **counts: int,
) -> AsyncIterator[InProcess]:
    """That many replicas of each service (one, unless given), greeted; an account with a key and `credits`."""
    async with contextlib.AsyncExitStack() as stack:
        engines = {host: engine or ScriptedEngine(*WORDS) for host in (ONE, TWO)}
        world = InProcess(Names(), await _open_data(stack, folder), engines, drain_timeout, session_ttl, stack)
        for service in ("auth", "quota", "inference"):
            hosts = [ONE, TWO][: counts.get(service, 1)]
            for host in hosts:
                await world.start(service, host)
            world.names.hosts[service] = hosts
        world.account_id = await world.account("user@example.com")
        key = await world.key_of(world.account_id)
        world.key_id, world.key = key.key.key_id, key.secret
        if credits:
            await world.grant(credits)
        named = {service: f"{service}:{port}" for service, port in world.ports.items()}
        world.pipeline = await start_pipeline(
            stack, SystemClock(), resolver=world.names, token=TOKENS.edge, timings=timings, **named
        )
        await world.settled()
        yield world


async def _open_data(stack: contextlib.AsyncExitStack, folder: Path) -> Data:
    auth = await stack.enter_async_context(open_database(f"sqlite:///{folder / 'auth.db'}", migrations=AUTH_MIGRATIONS))
    quota = await stack.enter_async_context(
        open_database(f"sqlite:///{folder / 'quota.db'}", migrations=QUOTA_MIGRATIONS)
    )
    store = await SqliteStore.open(str(folder / "quota.db"), SystemClock())
    stack.push_async_callback(store.close)
    writer = Writer(store.apply, shards=1, observe=lambda _: None)
    writing = asyncio.create_task(writer.run())
    stack.callback(writing.cancel)
    return Data(auth, quota, store, writer)
