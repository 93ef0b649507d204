"""Group commit: batches, isolation of a bad operation, outages, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from servicekit.errors import DatabaseUnavailable
from services.quota.domain.operations import Grant, Operation
from services.quota.domain.outcomes import Balanced, Outcome, Reason, Refused
from services.quota.running import group_commit as module
from services.quota.running.group_commit import Writer

Apply = Callable[[Sequence[Operation]], Awaitable[list[Outcome]]]


@asynccontextmanager
async def running(apply: Apply) -> AsyncIterator[tuple[Writer, list[int]]]:
    sizes: list[int] = []
    writer = Writer(apply, shards=1, observe=sizes.append)
    task = asyncio.create_task(writer.run())
    try:
        yield writer, sizes
    finally:
        task.cancel()


def grant(number: int) -> Grant:
    return Grant(str(number), "a", number)


async def test_what_queues_during_a_commit_goes_together_in_the_next() -> None:
    gate, entered = asyncio.Event(), asyncio.Event()

    async def apply(operations: Sequence[Operation]) -> list[Outcome]:
        entered.set()
        await gate.wait()
        return [Balanced(each.credits) for each in operations if isinstance(each, Grant)]

    async with running(apply) as (writer, sizes):
        first = asyncio.create_task(writer.do(grant(0)))
        await entered.wait()
        rest = [asyncio.create_task(writer.do(grant(number))) for number in range(1, 101)]
        await asyncio.sleep(0)
        gate.set()
        assert await first == Balanced(0)
        assert await asyncio.gather(*rest) == [Balanced(number) for number in range(1, 101)]
    assert sizes == [1, 64, 36]


async def test_one_bad_operation_does_not_fail_the_others_of_its_batch() -> None:
    async def apply(operations: Sequence[Operation]) -> list[Outcome]:
        if any(isinstance(each, Grant) and each.credits == 13 for each in operations):
            raise ValueError("a constraint of the database")
        return [Balanced(each.credits) for each in operations if isinstance(each, Grant)]

    async with running(apply) as (writer, _):
        outcomes = await asyncio.gather(*(writer.do(grant(number)) for number in range(20)))
    refused = outcomes.pop(13)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNAVAILABLE
    assert all(isinstance(each, Balanced) for each in outcomes)


async def test_an_outage_is_told_to_every_operation_and_nothing_is_tried_twice() -> None:
    calls = 0

    async def apply(operations: Sequence[Operation]) -> list[Outcome]:
        nonlocal calls
        calls += 1
        raise DatabaseUnavailable("gone")

    async with running(apply) as (writer, _):
        outcomes = await asyncio.gather(*(writer.do(grant(number)) for number in range(20)))
    assert {each.reason for each in outcomes if isinstance(each, Refused)} == {Reason.UNAVAILABLE}
    assert calls == 1


async def test_a_full_queue_refuses_at_once() -> None:
    async def apply(operations: Sequence[Operation]) -> list[Outcome]:
        await asyncio.get_running_loop().create_future()
        return []

    outcomes: list[Outcome] = []
    async with running(apply) as (writer, _):
        for number in range(module.MAX_QUEUED + 1):
            writer.submit(grant(number), outcomes.append)
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], Refused)
