"""auth is restarted under many keys in use: the edge keeps what it knows, and hears of what changed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from muhgpt.auth.v1 import auth_pb2
from servicekit.observability import metrics
from servicekit.rpc.status import RpcFailure
from services.edge.endpoints.errors import to_api_error
from services.edge.peers.errors import Failure
from tests.contract.edge.test_pipeline_keys import breaks
from tests.fakes_engine import ScriptedEngine
from tests.worlds.in_process.pipeline import collect, text_of, until
from tests.worlds.in_process.platform import ONE, PLENTY, TWO, InProcess, start_in_process

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


@contextlib.asynccontextmanager
async def restartable(folder: Path, engine: ScriptedEngine) -> AsyncIterator[InProcess]:
    """auth may be stopped, and started at its address."""
    async with start_in_process(folder, engine=engine, drain_timeout=0.05, session_ttl=TTL) as world:
        yield world


async def revoke(world: InProcess, key: auth_pb2.CreateKeyResponse) -> None:
    """As an operator does: again, where auth cannot be reached yet. Waits for no session to lapse."""
    async with asyncio.timeout(REVOKED):
        while True:
            with contextlib.suppress(RpcFailure):
                await world.call("auth", "RevokeKey", auth_pb2.RevokeKeyRequest(key_id=key.key.key_id))
                return
            await asyncio.sleep(0.02)


def asked() -> float:
    """Calls of Authenticate that auth has ended."""
    labels = {"method": "/muhgpt.auth.v1.Auth/Authenticate"}
    return sum(
        sample.value
        for family in metrics.RPC_HANDLED.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    )


async def keys_of(world: InProcess, accounts: int) -> list[auth_pb2.CreateKeyResponse]:
    """Keys of new accounts, each account with credits."""
    made = []
    for number in range(accounts):
        account = await world.account(f"user{number}@example.com")
        await world.grant(PLENTY, account)
        made += [await world.key_of(account) for _ in range(KEYS)]
    return made


async def test_no_answer_of_three_hundred_keys_is_cut_and_no_key_is_asked_for_again(tmp_path: Path) -> None:
    engine = HeldEngine()
    async with restartable(tmp_path, engine) as world:
        keys = await keys_of(world, ACCOUNTS)
        opened = [await world.open(key=key.secret) for key in keys]
        before, broken = asked(), breaks("auth")
        await world.drain("auth", ONE)
        await until(lambda: breaks("auth") >= broken + 6)  # the edge has looked for auth for most of a second
        await world.start("auth", ONE)
        await revoke(world, keys.pop())
        engine.release.set()
        with pytest.raises(Failure) as caught:
            await collect(opened.pop())
        assert to_api_error(caught.value).code == "key_revoked"
        texts = await asyncio.gather(*(collect(answer) for answer in opened))
        assert {text_of(batches) for batches in texts} == {"".join(WORDS)}
        for key in keys:
            await world.pipeline.authenticate(f"Bearer {key.secret}")
        assert asked() == before


async def test_what_changed_while_auth_was_away_is_in_force_before_its_revocation_returns(tmp_path: Path) -> None:
    async with restartable(tmp_path, ScriptedEngine(*WORDS)) as world:
        keys = await keys_of(world, 1)
        for key in keys:
            await world.pipeline.authenticate(f"Bearer {key.secret}")
        await world.drain("auth", ONE)
        await world.start("auth", TWO)  # a replica that the edge does not find
        revoking = asyncio.create_task(revoke(world, keys[0]))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(revoking), 0.05)
        revoking.cancel()
        await asyncio.wait([revoking])
        await world.drain("auth", TWO)
        await world.start("auth", ONE)
        await revoke(world, keys[0])
        with pytest.raises(Failure) as caught:
            await world.pipeline.authenticate(f"Bearer {keys[0].secret}")
        assert to_api_error(caught.value).status == 401
