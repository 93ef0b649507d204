"""One account sends a hundred requests at once over HTTP; another's single one waits for at most one generation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from services.edge.endpoints.endpoint import HotLimits
from services.edge.http.protocol import Bounds
from tests.fakes_engine import ScriptedEngine
from tests.worlds.in_process.http_edge import serving
from tests.worlds.in_process.pipeline import until
from tests.worlds.in_process.platform import ONE, PLENTY, InProcess, start_in_process

BURST = 100
OPEN = 64  # answers that an account may have open at once on one edge worker; the rest is refused at once


@dataclass
class Street:
    """The real edge, auth, quota and inference, and clients at their door."""

    world: InProcess
    url: str
    http: httpx.AsyncClient
    sent: list[asyncio.Task[int]] = field(default_factory=list)

    async def comes(self, email: str, **limits: int) -> str:
        """The key of a new account with credits."""
        account = await self.world.account(email, **limits)
        await self.world.grant(PLENTY, account)
        return (await self.world.key_of(account)).secret

    def send(self, key: str, text: str, count: int = 1) -> list[asyncio.Task[int]]:
        """That many requests at once; each task gives its status."""
        tasks = [asyncio.create_task(self._ask(key, text)) for _ in range(count)]
        self.sent += tasks
        return tasks

    async def _ask(self, key: str, text: str) -> int:
        body = {"messages": [{"role": "user", "content": text}]}
        headers = {"authorization": f"Bearer {key}"}
        answer = await self.http.post(f"{self.url}/v1/chat/completions", json=body, headers=headers)
        return answer.status_code

    def under_way(self) -> int:
        """Requests that generate or wait for their turn."""
        load = self.world.inferences[ONE].registry.load.read()
        return load.running + load.waiting

    def started(self, text: str) -> int:
        """Generations with this text that have begun."""
        return self.world.engine.started.count(text)

    def let_end(self, count: int = 1) -> None:
        """Lets that many generations end, those that began first."""
        assert self.world.engine.gate is not None
        for _ in range(count):
            self.world.engine.gate.release()


@contextlib.asynccontextmanager
async def street(folder: Path, slots: int) -> AsyncIterator[Street]:
    engine = ScriptedEngine("a", "b", slots=slots)
    engine.gate = asyncio.Semaphore(0)
    limits = httpx.Limits(max_connections=BURST + 10)
    async with (
        start_in_process(folder, engine=engine, drain_timeout=0.2) as world,
        serving(world.pipeline, Bounds(), HotLimits(), 600) as edge,
        httpx.AsyncClient(timeout=60, limits=limits) as http,
    ):
        there = Street(world, edge.url, http)
        yield there
        there.let_end(BURST)
        await asyncio.gather(*there.sent)


@pytest.mark.parametrize("slots", [1, 4])
async def test_a_hundred_requests_at_once_delay_anothers_by_at_most_one_generation(tmp_path: Path, slots: int) -> None:
    async with street(tmp_path, slots) as there:
        greedy = await there.comes("greedy@example.com", requests_per_minute=1000)
        modest = await there.comes("modest@example.com")
        burst = there.send(greedy, "greedy", BURST)
        await until(lambda: there.under_way() + sum(task.done() for task in burst) == BURST, 30)
        assert (there.under_way(), there.started("greedy")) == (OPEN, slots)

        single = there.send(modest, "modest")
        await until(lambda: there.under_way() == OPEN + 1)
        assert there.started("modest") == 0
        there.let_end()  # one generation of those that stood there already
        await until(lambda: there.started("modest") == 1)
        assert there.started("greedy") == slots

        there.let_end(BURST)
        assert await asyncio.wait_for(single[0], 30) == 200
        statuses = await asyncio.wait_for(asyncio.gather(*burst), 60)
        assert (statuses.count(200), statuses.count(429)) == (OPEN, BURST - OPEN)
        assert there.started("greedy") == OPEN
