"""The pipeline with the real auth, quota and inference: only the engine is scripted, only the processes are one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from muhgpt.auth.v1 import auth_pb2
from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.client import Peer, connect
from servicekit.clock import SystemClock
from servicekit.database import open_database
from servicekit.server import Server
from services.edge.answer import Answer
from services.edge.http_errors import ApiError
from services.edge.pipeline import Pipeline
from services.quota.domain.pricing import Price, PriceBook
from services.quota.domain.writer import Writer
from services.quota.migrate import MIGRATIONS
from services.quota.service import Leases, QuotaServicer
from services.quota.store.reader import Reader
from services.quota.store.sqlite import SqliteStore
from tests.contract.auth.auth_world import TOKENS, Auth, running_auth
from tests.contract.edge.platform_for_edge import chat_request, collect, reasons_of, start_pipeline, text_of, until
from tests.fakes_engine import ScriptedEngine, start_inference

WORDS = [f"w{number} " for number in range(100)]


@dataclass
class World:
    """Everything, and an operator's hands."""

    pipeline: Pipeline
    auth: Auth
    quota: Peer
    engine: ScriptedEngine
    account_id: str
    key_id: str
    key: str

    async def call(self, method: str, request: Any) -> Any:
        return await self.quota.call(getattr(quota_pb2_grpc.QuotaStub(self.quota.channel), method), request, timeout=5)

    async def grant(self, credits: int) -> None:
        request = quota_pb2.GrantRequest(grant_id=f"g{credits}", account_id=self.account_id, credits=credits)
        await self.call("Grant", request)

    async def open(self) -> Answer:
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
            streamed=True,
            request_id="req",
            deadline=deadline,
        )

    async def charged(self) -> int:
        """Credits charged, after a recount that found the books in order and nothing held."""
        books = await self.call("CheckBooks", quota_pb2.CheckBooksRequest())
        assert books.balanced
        assert (books.held, books.open_holds) == (0, 0)
        return int(books.charged)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    engine, clock = ScriptedEngine(*WORDS), SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        auth = await stack.enter_async_context(running_auth(f"sqlite:///{tmp_path / 'auth.db'}", clock, drain=0.2))
        inference = await stack.enter_async_context(start_inference(engine, drain_timeout=0.2))
        address = await _serve_quota(stack, tmp_path / "quota.db")
        operator = connect(address, token=TOKENS.operator)
        stack.push_async_callback(operator.close)
        account = await auth.account()
        key = await auth.key(account)
        pipeline = await start_pipeline(
            stack, clock, auth=auth.address, quota=address, inference=inference.address, token=TOKENS.edge
        )
        yield World(pipeline, auth, operator, engine, account.account_id, key.key.key_id, key.secret)


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


async def test_parallel_answers_leave_books_that_agree_with_their_usage_to_the_credit(world: World) -> None:
    await world.grant(100_000)
    world.engine.slots = 20
    answers = await asyncio.gather(*(world.open() for _ in range(20)))
    for batches in await asyncio.gather(*(collect(answer) for answer in answers)):
        assert text_of(batches) == "".join(WORDS)
    assert await world.charged() == 20 * (5 + 3 * 100)


@pytest.mark.parametrize("output", [1, 30, 63, 64, 65, 99])
async def test_the_last_credits_buy_exactly_the_tokens_that_they_pay(world: World, output: int) -> None:
    await world.grant(5 + 3 * output + 2)
    batches = await collect(await world.open())
    assert text_of(batches) == "".join(WORDS[:output])
    assert reasons_of(batches) == ["length"]
    assert await world.charged() == 5 + 3 * output


async def test_parallel_answers_share_a_small_balance_and_never_overdraw_it(world: World) -> None:
    await world.grant(600)
    world.engine.slots = 20
    outcomes = await asyncio.gather(*(_spend(world) for _ in range(8)))
    assert await world.charged() == sum(outcomes)
    assert 0 < sum(outcomes) <= 600


async def _spend(world: World) -> int:
    """Credits that one answer cost by its usage; 0 when it was refused for want of credits."""
    try:
        answer = await world.open()
    except ApiError as error:
        if error.status != 402:
            raise
        return 0
    usage = (await collect(answer))[-1].usage
    assert usage is not None
    return usage.prompt_tokens + 3 * usage.completion_tokens if usage.completion_tokens else 0


async def test_a_client_that_leaves_pays_what_was_generated_within_its_hold(world: World) -> None:
    await world.grant(100_000)
    pause = world.engine.pause_after(20)
    answer = await world.open()
    await pause.reached()
    await until(lambda: answer.generation.received == 20)  # type: ignore[attr-defined]
    await answer.aclose()
    await world.engine.wait_stopped()
    await _settled(world)
    assert await world.charged() == 5 + 3 * 20


async def test_revoking_a_key_ends_its_running_answer_before_the_operator_is_told(world: World) -> None:
    await world.grant(100_000)
    pause = world.engine.pause_after(20)
    answer = await world.open()
    await pause.reached()
    response = await asyncio.wait_for(world.auth.revoking(world.key_id), 1)
    assert response.key.state == auth_pb2.Key.STATE_REVOKED
    with pytest.raises(ApiError) as caught:
        await collect(answer)
    assert caught.value.code == "key_revoked"
    with pytest.raises(ApiError) as caught:
        await world.open()
    assert caught.value.status == 401


async def test_the_sixty_first_request_of_a_minute_is_a_429_with_the_time_to_wait(world: World) -> None:
    await world.grant(1_000_000)
    for _ in range(60):
        await (await world.open()).aclose()
    with pytest.raises(ApiError) as caught:
        await world.open()
    assert caught.value.status == 429
    assert caught.value.window is not None
    assert (caught.value.window.limit, caught.value.window.remaining) == (60, 0)
    assert 0 < int(caught.value.headers["retry-after"]) <= 60
    await _settled(world)


async def _settled(world: World) -> None:
    assert await world.pipeline._quota.drained(5)
