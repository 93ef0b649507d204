"""auth is restarted under many keys in use: the edge keeps what it knows, and hears of what changed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from servicekit.clock import SystemClock
from servicekit.observability import metrics
from servicekit.rpc.status import RpcFailure
from services.edge.endpoints.errors import to_api_error
from services.edge.peers.errors import Failure
from services.edge.serving.pipeline import Pipeline
from tests.contract.edge.platform_for_edge import chat_request, collect, serve, start_pipeline, text_of, until
from tests.contract.edge.scripted_quota import ScriptedQuota
from tests.contract.edge.test_pipeline_keys import breaks
from tests.fakes_engine import ScriptedEngine, start_inference
from tests.worlds.in_process.auth import TOKENS, Auth, running_auth

WORDS = [f"w{number} " for number in range(40)]
ACCOUNTS, KEYS = 30, 10
TTL = 40.0  # seconds of a session: no machine is so busy that one lapses while auth is restarted
REVOKED = 20.0  # seconds within which a revocation returns that waits for no session to lapse


class HeldEngine(ScriptedEngine):
    """Every answer stands still after its first tokens, until `release` is set."""

    def __init__(self) -> None:
        super().__init__(*WORDS, slots=ACCOUNTS * KEYS)
        self.release = asyncio.Event()

    async def generate(self, prompt: Any, max_tokens: int) -> AsyncGenerator[Any]:
        steps = super().generate(prompt, max_tokens)
        yield await anext(steps)
        await self.release.wait()
        async for step in steps:
            yield step


@dataclass
class Restartable:
    """A real auth that can be stopped and started at its address, and an edge's pipeline to it."""

    database_url: str
    listen: str = "127.0.0.1:0"
    pipeline: Pipeline = field(init=False)
    auth: Auth = field(init=False)
    _life: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def start(self) -> None:
        running = running_auth(self.database_url, SystemClock(), ttl=TTL, drain=0.05, listen=self.listen)
        self.auth = await self._life.enter_async_context(running)
        self.listen = self.auth.address

    async def stop(self) -> None:
        await self._life.aclose()

    async def revoke(self, key: Any) -> None:
        """As an operator does: again, where auth cannot be reached yet. Takes no session's time to lapse."""
        async with asyncio.timeout(REVOKED):
            while True:
                with contextlib.suppress(RpcFailure):
                    await self.auth.revoking(key.key.key_id)
                    return
                await asyncio.sleep(0.02)

    async def open(self, key: str) -> Any:
        caller = await self.pipeline.authenticate(f"Bearer {key}")
        model = self.pipeline.resolve(caller, "muh-chat")
        return await self.pipeline.open(
            caller,
            model,
            chat_request(model.model, "hello there"),
            alias="muh-chat",
            max_tokens=None,
            choices=1,
            streamed=True,
            request_id="req_test",
            deadline=SystemClock().monotonic() + 60,
        )


@contextlib.asynccontextmanager
async def restartable(database_url: str, engine: ScriptedEngine) -> AsyncIterator[Restartable]:
    async with contextlib.AsyncExitStack() as stack:
        world = Restartable(database_url)
        await world.start()
        stack.push_async_callback(world.stop)
        inference = await stack.enter_async_context(start_inference(engine, drain_timeout=0.2))
        quota = await serve(stack, "quota", ScriptedQuota(), TOKENS)
        world.pipeline = await start_pipeline(
            stack, SystemClock(), auth=world.listen, quota=quota, inference=inference.address, token=TOKENS.edge
        )
        yield world


def asked() -> float:
    """Calls of Authenticate that auth has ended."""
    labels = {"method": "/muhgpt.auth.v1.Auth/Authenticate"}
    return sum(
        sample.value
        for family in metrics.RPC_HANDLED.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    )


async def keys_of(auth: Auth, accounts: int) -> list[Any]:
    made = []
    for number in range(accounts):
        account = await auth.account(f"user{number}@example.com")
        made += [await auth.key(account) for _ in range(KEYS)]
    return made


async def test_no_answer_of_three_hundred_keys_is_cut_and_no_key_is_asked_for_again(sqlite_url: str) -> None:
    engine = HeldEngine()
    async with restartable(sqlite_url, engine) as world:
        keys = await keys_of(world.auth, ACCOUNTS)
        opened = [await world.open(key.secret) for key in keys]
        before, broken = asked(), breaks("auth")
        await world.stop()
        await until(lambda: breaks("auth") >= broken + 6)  # the edge has looked for auth for most of a second
        await world.start()
        revoked = keys.pop()
        await world.revoke(revoked)
        engine.release.set()
        with pytest.raises(Failure) as caught:
            await collect(opened.pop())
        assert to_api_error(caught.value).code == "key_revoked"
        texts = await asyncio.gather(*(collect(answer) for answer in opened))
        assert {text_of(batches) for batches in texts} == {"".join(WORDS)}
        for key in keys:
            await world.pipeline.authenticate(f"Bearer {key.secret}")
        assert asked() == before


async def test_what_changed_while_auth_was_away_is_in_force_before_its_revocation_returns(sqlite_url: str) -> None:
    engine = ScriptedEngine(*WORDS)
    async with restartable(sqlite_url, engine) as world:
        (*keys,) = await keys_of(world.auth, 1)
        for key in keys:
            await world.pipeline.authenticate(f"Bearer {key.secret}")
        await world.stop()
        async with running_auth(sqlite_url, SystemClock(), ttl=TTL) as elsewhere:  # as another replica does
            revoking = elsewhere.revoking(keys[0].key.key_id)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(revoking), 0.05)
            revoking.cancel()
            await asyncio.wait([revoking])
        await world.start()
        await world.revoke(keys[0])
        with pytest.raises(Failure) as caught:
            await world.pipeline.authenticate(f"Bearer {keys[0].secret}")
        assert to_api_error(caught.value).status == 401
