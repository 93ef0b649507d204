"""Preparing prompts takes work before anything is paid: it is done in turns, and refused work is charged (G13)."""

from __future__ import annotations

import asyncio

import pytest

from services.edge.endpoints.errors import to_api_error
from services.edge.http.limits import Limits, Sender
from services.edge.peers.errors import Failure
from services.edge.serving.preparations import Preparations
from services.inference.domain import spent
from services.inference.domain.chat import ChatRequest
from services.inference.domain.errors import InvalidRequest
from tests.fakes import FakeClock
from tests.fakes_engine import ScriptedEngine, ScriptedPrompt
from tests.worlds.in_process.pipeline import ScriptedPlatform, collect, start_platform, text_of, until

ALICE = Sender.account("acct_a")


class CostlyEngine(ScriptedEngine):
    """Every prompt costs 700 ms of CPU."""

    async def prepare(self, request: ChatRequest) -> ScriptedPrompt:
        spent.add(0.7)
        return await super().prepare(request)


def charged_to(budget: Limits) -> Preparations:
    """Prompts that are refused are charged as an edge process does it."""
    return Preparations(charge=budget.spending.charge_account)


async def refused(platform: ScriptedPlatform) -> int:
    with pytest.raises(Failure) as caught:
        await platform.open()
    return to_api_error(caught.value).status


async def test_an_account_prepares_three_prompts_at_once_and_another_account_does_not_wait_for_it() -> None:
    async with start_platform("a") as platform:
        platform.engine.prepare_gate = gate = asyncio.Semaphore(0)
        other = platform.auth.add_key("acct_b", "key_b")
        opening = [asyncio.create_task(platform.open()) for _ in range(8)]
        await until(lambda: len(platform.engine.requests) == 3)
        theirs = asyncio.create_task(platform.open(other))
        await until(lambda: len(platform.engine.requests) == 4)
        for released in range(1, 9):
            gate.release()
            await until(lambda count=released: len(platform.engine.requests) >= min(9, 4 + count - 1))
        gate.release()
        for task in (*opening, theirs):
            assert text_of(await collect(await asyncio.wait_for(task, 5))) == "a"


async def test_a_client_that_leaves_while_it_waits_for_its_turn_gives_it_up() -> None:
    async with start_platform("a", preparations=Preparations(1)) as platform:
        platform.engine.prepare_gate = gate = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(platform.open()) for _ in range(3)]
        await until(lambda: len(platform.engine.requests) == 1)
        tasks[1].cancel()
        await asyncio.wait({tasks[1]})
        gate.release()
        gate.release()
        for task in (tasks[0], tasks[2]):
            assert text_of(await collect(await asyncio.wait_for(task, 5))) == "a"
        assert len(platform.engine.requests) == 2


async def test_what_inference_says_that_a_refusal_cost_is_charged_to_the_account() -> None:
    budget = Limits(FakeClock())
    async with start_platform(engine=CostlyEngine("a"), preparations=charged_to(budget)) as platform:
        platform.engine.fail_prepare(InvalidRequest("no"))
        assert [await refused(platform) for _ in range(2)] == [400, 400]
        assert budget.spending.refused_until(ALICE) is None
        assert await refused(platform) == 400
        assert budget.spending.refused_until(ALICE) is not None
        assert budget.spending.refused_until(Sender.account("acct_b")) is None


async def test_the_time_of_a_refusal_that_says_nothing_is_charged() -> None:
    clock = FakeClock()
    budget = Limits(clock)
    async with start_platform("a", clock=clock, preparations=charged_to(budget)) as platform:
        platform.engine.prepare_gate = gate = asyncio.Semaphore(0)
        platform.engine.fail_prepare(InvalidRequest("no"))
        refusal = asyncio.create_task(refused(platform))
        await until(lambda: len(platform.engine.requests) == 1)
        clock.advance(3.0)
        gate.release()
        assert await refusal == 400
        assert budget.spending.refused_until(ALICE) is not None


async def test_a_request_that_is_served_is_charged_nothing() -> None:
    clock = FakeClock()
    budget = Limits(clock)
    async with start_platform("a", clock=clock, preparations=charged_to(budget)) as platform:
        platform.engine.prepare_gate = gate = asyncio.Semaphore(0)
        opening = asyncio.create_task(platform.open())
        await until(lambda: len(platform.engine.requests) == 1)
        clock.advance(3.0)
        gate.release()
        assert text_of(await collect(await opening)) == "a"
        assert budget.spending.refused_until(ALICE) is None
