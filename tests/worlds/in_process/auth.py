"""A real auth on a real port, an operator, and an edge's side of WatchKeys as auth.proto describes it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from common import key_format
from muhgpt.auth.v1 import auth_pb2, auth_pb2_grpc
from servicekit.clock import Clock
from servicekit.database.database import open_database
from servicekit.rpc.access import Tokens
from servicekit.rpc.client import Peer, connect
from servicekit.rpc.server import Server
from servicekit.rpc.status import RpcFailure
from services.auth.domain.principal import Defaults
from services.auth.domain.sessions import SessionPolicy
from services.auth.main import SERVICE, make_servicer
from services.auth.migrate import MIGRATIONS

TOKENS = Tokens(edge="edge-token-of-the-test", operator="operator-token-of-the-test")
DEFAULTS = Defaults(requests_per_minute=60, max_open_streams=64)
PATIENCE = 30.0  # seconds that a test waits for something that should come at once
# With a fake clock sessions lapse by it, but silence also ends a stream in real time: long, for machines that stall.
FAKE_TTL = 60.0  # seconds


@dataclass
class Auth:
    """One running replica and two callers."""

    server: Server
    address: str
    operator_peer: Peer
    edge_peer: Peer

    @property
    def operator(self) -> Caller:
        return Caller(self.operator_peer)

    @property
    def edge(self) -> Caller:
        return Caller(self.edge_peer)

    async def account(self, email: str = "ada@example.com", **fields: Any) -> auth_pb2.Account:
        answer = await self.operator.CreateAccount(auth_pb2.CreateAccountRequest(email=email, **fields))
        return answer.account

    async def key(self, account: auth_pb2.Account, **fields: Any) -> auth_pb2.CreateKeyResponse:
        request = auth_pb2.CreateKeyRequest(account_id=account.account_id, **fields)
        return await self.operator.CreateKey(request)

    async def authenticate(self, secret: str) -> auth_pb2.AuthenticateResponse:
        return await self.edge.Authenticate(auth_pb2.AuthenticateRequest(key_digest=key_format.digest(secret)))

    def revoking(self, key_id: str) -> asyncio.Task[Any]:
        return asyncio.create_task(self.operator.RevokeKey(auth_pb2.RevokeKeyRequest(key_id=key_id)))


class Caller:
    """`await caller.Method(request)` with a deadline; raises RpcFailure."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._stub = auth_pb2_grpc.AuthStub(peer.channel)

    def __getattr__(self, method: str) -> Any:
        return lambda request: self._peer.call(getattr(self._stub, method), request, timeout=PATIENCE)


class Edge:
    """One stream, driven by hand."""

    def __init__(self, peer: Peer) -> None:
        self.call: Any = auth_pb2_grpc.AuthStub(peer.channel).WatchKeys(metadata=peer.metadata())
        self.sequence = 0
        self.session_id = b""
        self.cache_mark = ""

    @classmethod
    async def open(cls, peer: Peer, session_id: bytes | None = None, **known: Any) -> Edge:
        edge = cls(peer)
        edge.session_id = session_id or secrets.token_bytes(16)
        await edge.hello(edge.session_id, **known)
        welcome = await edge.read("welcome")
        edge.sequence, edge.cache_mark = welcome.sequence, welcome.cache_mark
        return edge

    async def resume(self, peer: Peer, sequence: int | None = None) -> Edge:
        """A new stream that goes on from this one; `sequence`: the last change in force here."""
        known = {"cache_mark": self.cache_mark, "last_session_id": self.session_id}
        return await Edge.open(peer, last_sequence=self.sequence if sequence is None else sequence, **known)

    async def hello(self, session_id: bytes, **known: Any) -> None:
        hello = auth_pb2.WatchHello(session_id=session_id, edge_name="test edge", **known)
        await self.call.write(auth_pb2.WatchKeysRequest(hello=hello))

    async def read(self, kind: str) -> Any:
        """The next message, which must be of this kind."""
        async with asyncio.timeout(PATIENCE):
            message = await self.call.read()
        assert message is not grpc.aio.EOF, f"the stream ended: {await self.call.code()}"
        assert message.WhichOneof("message") == kind
        return getattr(message, kind)

    async def ack(self, sequence: int) -> None:
        await self.call.write(auth_pb2.WatchKeysRequest(ack=auth_pb2.Ack(sequence=sequence)))

    async def beat(self, number: int) -> None:
        await self.call.write(auth_pb2.WatchKeysRequest(heartbeat=auth_pb2.WatchHeartbeat(number=number)))

    async def beat_answered(self, number: int) -> None:
        await self.beat(number)
        assert (await self.read("heartbeat")).number == number

    async def leave(self) -> None:
        """Says goodbye: closes its side and reads to the end."""
        await self.call.done_writing()
        async with asyncio.timeout(PATIENCE):
            while await self.call.read() is not grpc.aio.EOF:
                pass
        assert await self.call.code() is grpc.StatusCode.OK

    async def failure(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ended, and its reason."""
        from servicekit.rpc.status import from_rpc_error

        try:
            async with asyncio.timeout(PATIENCE):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
        except grpc.aio.AioRpcError as error:
            failed: RpcFailure = from_rpc_error(error)
            return failed.code, failed.reason
        return await self.call.code(), ""


@asynccontextmanager
async def running_auth(
    database_url: str,
    clock: Clock,
    *,
    ttl: float = 5.0,
    drain: float = 2.0,
    listen: str = "127.0.0.1:0",
    defaults: Defaults = DEFAULTS,
) -> AsyncIterator[Auth]:
    """A replica over a database."""
    async with open_database(database_url, migrations=MIGRATIONS) as database:
        server = Server(name="auth", listen=listen, tokens=TOKENS, drain_timeout=drain)
        servicer = make_servicer(
            database,
            policy=SessionPolicy(ttl=ttl),
            defaults=defaults,
            draining=server.draining,
            clock=clock,
            random_bytes=secrets.token_bytes,
        )
        server.add(servicer, auth_pb2_grpc.add_AuthServicer_to_server, SERVICE)
        address = await server.start()
        operator, edge = connect(address, token=TOKENS.operator), connect(address, token=TOKENS.edge)
        try:
            yield Auth(server, address, operator, edge)
        finally:
            await edge.close()
            await operator.close()
            await server.stop()
