"""However much one account sends, another's request waits for at most one generation more than without it.

Counted in generations, not in time: each generation of the scripted engine stands until the test lets it end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.contract.inference.session_client import SessionClient, chat, open_session
from tests.contract.inference.test_inference_service import until
from tests.fakes_engine import EDGE_TOKEN, RunningInference, ScriptedEngine, start_inference

BURST = 100


@dataclass
class Service:
    """A replica, two edges, and an engine that waits."""

    engine: ScriptedEngine
    running: RunningInference
    edges: Sequence[SessionClient]
    ended: int = 0

    async def send(self, account: str, count: int = 1, edge: int = 0, choices: int = 1) -> None:
        """So many requests of an account, all in the engine or its queue on return."""
        load = self.running.registry.load.read()
        known = load.running + load.waiting
        numbers = [
            await self.edges[edge].prepare(chat(account, choices=choices), account_id=account) for _ in range(count)
        ]
        for number in numbers:
            assert (await self.edges[edge].event(number)).WhichOneof("event") == "prepared"
            await self.edges[edge].go(number)
        await until(lambda: self._under_way() == known + count)
        await until(lambda: len(self.engine.started) - self.ended == self.running.registry.load.read().running)

    async def end_one(self) -> None:
        """Lets the generation that stands longest end, and waits until the next has begun."""
        assert self.engine.gate is not None
        under_way = self._under_way()
        self.engine.gate.release()
        self.ended += 1
        await until(lambda: self._under_way() == under_way - 1)
        await until(lambda: len(self.engine.started) - self.ended == self.running.registry.load.read().running)

    def started(self, account: str) -> int:
        """Generations of an account that have begun."""
        return self.engine.started.count(account)

    def _under_way(self) -> int:
        load = self.running.registry.load.read()
        return load.running + load.waiting


@asynccontextmanager
async def service(slots: int) -> AsyncIterator[Service]:
    engine = ScriptedEngine("a", "b", slots=slots)
    engine.gate = asyncio.Semaphore(0)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(start_inference(engine))
        edges = [
            await stack.enter_async_context(open_session(running.address, EDGE_TOKEN, bytes([number]) * 16))
            for number in range(2)
        ]
        yield Service(engine, running, edges)


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
@pytest.mark.parametrize("ended_before", [0, 1, 50])
@pytest.mark.parametrize("edge", [0, 1])
async def test_a_burst_of_one_account_lets_another_in_at_the_next_free_slot(
    slots: int, ended_before: int, edge: int
) -> None:
    async with service(slots) as world:
        await world.send("greedy", BURST)
        assert (world.started("greedy"), world.started("modest")) == (slots, 0)
        for _ in range(ended_before):
            await world.end_one()
        greedy = world.started("greedy")
        await world.send("modest", edge=edge)
        assert world.started("modest") == 0
        await world.end_one()
        assert (world.started("modest"), world.started("greedy") - greedy) == (1, 0)


@pytest.mark.parametrize("slots", [1, 2, 4])
async def test_two_accounts_who_both_send_much_are_served_in_turn(slots: int) -> None:
    async with service(slots) as world:
        await world.send("greedy", 20)
        await world.send("eager", 20, edge=1)
        for _ in range(20):
            await world.end_one()
        gap = world.started("greedy") - world.started("eager")
        assert abs(gap - slots) <= slots  # greedy had all slots to begin with


@pytest.mark.parametrize("slots", [1, 2, 4])
async def test_behind_a_third_accounts_generation_at_most_one_of_the_burst_goes_first(slots: int) -> None:
    async with service(slots) as world:
        await world.send("third", slots)
        await world.send("greedy", BURST)
        await world.send("modest", edge=1)
        ends = 0
        while not world.started("modest"):
            await world.end_one()
            ends += 1
        # The burst came first, so its first request does; the second comes after the other account's.
        assert (world.started("greedy"), ends) == (1, 2)


@pytest.mark.parametrize("choices", [2, 4])
async def test_a_burst_of_requests_for_many_choices_lets_another_in_after_one_of_them(choices: int) -> None:
    async with service(4) as world:
        await world.send("greedy", BURST, choices=choices)
        greedy = world.started("greedy")
        assert greedy == 4 // choices
        await world.send("modest", edge=1)
        await world.end_one()
        assert world.started("modest") == 1
        assert world.started("greedy") - greedy <= 1
