"""The real auth, quota and inference around a scripted engine, and an edge's pipeline to them, all in one process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.clock import SystemClock
from servicekit.database.database import open_database
from servicekit.rpc.client import Peer, connect
from servicekit.rpc.server import Server
from services.edge.serving.answer import Answer
from services.edge.serving.pipeline import Pipeline
from services.quota.domain.pricing import Price, PriceBook
from services.quota.migrate import MIGRATIONS
from services.quota.running.group_commit import Writer
from services.quota.service import Leases, QuotaServicer
from services.quota.store.reading.reader import Reader
from services.quota.store.sqlite.store import SqliteStore
from tests.contract.auth.auth_world import TOKENS, Auth, running_auth
from tests.contract.edge.platform_for_edge import chat_request, start_pipeline
from tests.fakes_engine import RunningInference, ScriptedEngine, start_inference


@dataclass
class World:
    """Everything, and an operator's hands."""

    pipeline: Pipeline
    auth: Auth
    quota: Peer
    inference: RunningInference
    engine: ScriptedEngine
    account_id: str
    key_id: str
    key: str
    addresses: dict[str, str]  # of auth and quota

    async def call(self, method: str, request: Any) -> Any:
        return await self.quota.call(getattr(quota_pb2_grpc.QuotaStub(self.quota.channel), method), request, timeout=5)

    async def grant(self, credits: int, account_id: str = "") -> None:
        account = account_id or self.account_id
        request = quota_pb2.GrantRequest(grant_id=f"g{credits}-{account}", account_id=account, credits=credits)
        await self.call("Grant", request)

    async def key_of(self, email: str, credits: int, **limits: int) -> str:
        """The key of one more account with credits."""
        account = await self.auth.account(email, **limits)
        await self.grant(credits, account.account_id)
        return str((await self.auth.key(account)).secret)

    async def open(self, *, streamed: bool = True) -> Answer:
        caller = await self.pipeline.authenticate(f"Bearer {self.key}")
        model = self.pipeline.resolve(caller, "gpt-4o")
        deadline = SystemClock().monotonic() + 20
        request = chat_request(model.model, "hello there")
        return await self.pipeline.open(
            caller,
            model,
            request,
            alias="gpt-4o",
            max_tokens=None,
            choices=1,
            streamed=streamed,
            request_id="req",
            deadline=deadline,
        )

    async def charged(self) -> int:
        """Credits charged, after a recount that found the books in order and nothing held."""
        books = await self.call("CheckBooks", quota_pb2.CheckBooksRequest())
        assert books.balanced
        assert (books.held, books.open_holds) == (0, 0)
        return int(books.charged)


@contextlib.asynccontextmanager
async def running_world(folder: Path, engine: ScriptedEngine) -> AsyncIterator[World]:
    """Everything up and greeted, one account with a key."""
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        auth = await stack.enter_async_context(running_auth(f"sqlite:///{folder / 'auth.db'}", clock, drain=0.2))
        inference = await stack.enter_async_context(start_inference(engine, drain_timeout=0.2))
        address = await _serve_quota(stack, folder / "quota.db")
        operator = connect(address, token=TOKENS.operator)
        stack.push_async_callback(operator.close)
        addresses = {"auth": auth.address, "quota": address}
        account = await auth.account()
        key = await auth.key(account)
        pipeline = await start_pipeline(
            stack, clock, auth=auth.address, quota=address, inference=inference.address, token=TOKENS.edge
        )
        yield World(
            pipeline, auth, operator, inference, engine, account.account_id, key.key.key_id, key.secret, addresses
        )


async def _serve_quota(stack: contextlib.AsyncExitStack, path: Path) -> str:
    database = await stack.enter_async_context(open_database(f"sqlite:///{path}", migrations=MIGRATIONS))
    store = await SqliteStore.open(str(path), SystemClock())
    stack.push_async_callback(store.close)
    writer = Writer(store.apply, shards=1, observe=lambda _: None)
    writing = asyncio.create_task(writer.run())
    stack.callback(writing.cancel)
    server = Server(name="quota", listen="127.0.0.1:0", tokens=TOKENS, drain_timeout=0.2)
    servicer = QuotaServicer(
        store=store,
        reader=Reader(database),
        writer=writer,
        prices=PriceBook({"muh-chat": Price(1_000_000, 3_000_000)}),
        leases=Leases(10.0, 3.0),
        clock=SystemClock(),
        draining=server.draining,
    )
    server.add(servicer, quota_pb2_grpc.add_QuotaServicer_to_server, quota_pb2.DESCRIPTOR.services_by_name["Quota"])
    address = await server.start()
    stack.push_async_callback(server.stop)
    return address
