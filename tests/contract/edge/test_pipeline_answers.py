"""Answers from end to end: delivered, counted, cut to the token, isolated from each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from services.edge.endpoints.errors import to_api_error
from services.edge.peers.errors import Failure
from services.edge.serving.answer import Usage
from services.inference.domain.engine import Delta, FinishReason
from services.inference.domain.errors import ContextTooLong
from tests.fakes_engine import ScriptedEngine
from tests.worlds.in_process.pipeline import Collected, collect, reasons_of, start_platform, text_of, until
from tests.worlds.in_process.scripted_quota import ScriptedQuota

WORDS = [f"w{number} " for number in range(300)]


async def test_an_answer_arrives_whole_and_is_charged_for_exactly_what_its_usage_says() -> None:
    async with start_platform("Hel", "lo", "!") as platform:
        answer = await platform.open()
        batches = await collect(answer)
        assert text_of(batches) == "Hello!"
        assert reasons_of(batches) == ["stop"]
        assert batches[-1].usage == Usage(5, 3)
        assert answer.window.limit == 60
        assert platform.quota.settled == [3]
        assert platform.quota.balance == 1_000_000 - 5 - 3


async def test_the_charge_is_committed_before_the_last_batch_is_given() -> None:
    async with start_platform("a", "b") as platform:
        answer = await platform.open()
        settled: list[list[int]] = []
        last = await answer.deliver(Collected(lambda deltas: settled.append(list(platform.quota.settled))))
        assert not any(settled)
        assert last.usage is not None
        assert platform.quota.settled == [2]


async def test_a_long_answer_slides_its_hold_and_never_passes_it() -> None:
    async with start_platform(*WORDS) as platform:
        batches = await collect(await platform.open())
        assert text_of(batches) == "".join(WORDS)
        assert platform.quota.settled == [300]
        assert platform.quota.open_holds == 0


async def test_several_choices_are_counted_together() -> None:
    async with start_platform(*WORDS[:50]) as platform:
        batches = await collect(await platform.open(choices=3))
        assert reasons_of(batches) == ["stop"] * 3
        assert batches[-1].usage == Usage(5, 150)
        assert platform.quota.settled == [150]


@pytest.mark.parametrize("output", [1, 2, 63, 64, 65, 100, 129])
async def test_an_answer_ends_by_length_at_exactly_the_tokens_that_the_balance_pays(output: int) -> None:
    quota = ScriptedQuota(balance=5 + output)
    async with start_platform(*WORDS, quota=quota) as platform:
        batches = await collect(await platform.open())
        assert text_of(batches) == "".join(WORDS[:output])
        assert reasons_of(batches) == ["length"]
        assert batches[-1].usage == Usage(5, output)
        assert quota.balance == 0


async def test_money_that_runs_out_midway_ends_the_answer_by_length_where_the_hold_ends() -> None:
    quota = ScriptedQuota(balance=5 + 200)
    async with start_platform(*WORDS, quota=quota) as platform:
        pause = platform.engine.pause_after(10)
        answer = await platform.open()
        await pause.reached()
        quota.balance = 5 + 80  # another request took the rest after this one was told that it may have 200
        pause.resume()
        batches = await collect(answer)
        assert text_of(batches) == "".join(WORDS[:80])
        assert reasons_of(batches) == ["length"]
        assert quota.settled == [80]
        assert quota.balance == 0


class ChunkyEngine(ScriptedEngine):
    """Gives each text as one delta of 100 tokens, as an upstream may that knows no better."""

    def _steps(self, choices: int, max_tokens: int, *, logprobs: bool) -> Iterator[list[Delta]]:
        for text in self.tokens:
            yield [Delta(0, text, 100)]
        yield [Delta(0, "", 0, finish_reason=FinishReason.STOP)]


async def test_a_delta_larger_than_the_whole_window_is_delivered_once_it_is_covered() -> None:
    async with start_platform(engine=ChunkyEngine("one ", "two ")) as platform:
        batches = await collect(await platform.open())
        assert text_of(batches) == "one two "
        assert platform.quota.settled == [200]


async def test_a_delta_that_the_money_covers_in_part_is_neither_delivered_nor_charged() -> None:
    quota = ScriptedQuota(balance=5 + 180)
    async with start_platform(engine=ChunkyEngine("one ", "two "), quota=quota) as platform:
        batches = await collect(await platform.open())
        assert (text_of(batches), reasons_of(batches)) == ("one ", ["length"])
        assert quota.settled == [100]


async def test_choices_that_are_still_open_all_end_by_length_when_the_money_does() -> None:
    quota = ScriptedQuota(balance=5 + 41)
    async with start_platform(*WORDS, quota=quota) as platform:
        batches = await collect(await platform.open(choices=2))
        assert reasons_of(batches) == ["length", "length"]
        assert quota.settled[0] <= 41
        assert batches[-1].usage == Usage(5, quota.settled[0])


async def test_a_balance_that_cannot_pay_one_token_is_a_402_and_nothing_is_generated() -> None:
    async with start_platform("a", quota=ScriptedQuota(balance=5)) as platform:
        with pytest.raises(Failure) as caught:
            await platform.open()
        assert to_api_error(caught.value).status == 402
        assert platform.engine.tokens_made == 0
        await until(lambda: platform.quota.open_holds == 0)


async def test_max_tokens_is_what_reaches_the_engine() -> None:
    async with start_platform(*WORDS) as platform:
        answer = await platform.open(max_tokens=7)
        batches = await collect(answer)
        assert answer.max_tokens == 7
        assert platform.engine.max_tokens == [7]
        assert reasons_of(batches) == ["length"]


async def test_many_answers_run_side_by_side_without_touching_each_other() -> None:
    async with start_platform(*WORDS[:40]) as platform:
        platform.engine.slots = 100
        answers = await asyncio.gather(*(platform.open() for _ in range(40)))
        for batches in await asyncio.gather(*(collect(answer) for answer in answers)):
            assert text_of(batches) == "".join(WORDS[:40])
        assert platform.quota.settled == [40] * 40
        assert len({bytes(hold) for hold in platform.quota.holds}) == 40


async def test_a_large_request_goes_through_the_unary_prepare() -> None:
    async with start_platform("ok", engine=ScriptedEngine("ok", prompt_tokens=9)) as platform:
        batches = await collect(await platform.open(text="x" * 1_000_000))
        assert text_of(batches) == "ok"
        assert platform.quota.reserves[0].prompt_tokens == 9


@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_what_only_the_engine_can_refuse_is_a_400_and_reserves_nothing(size: int) -> None:
    async with start_platform("ok") as platform:
        platform.engine.fail_prepare(ContextTooLong(3000, 2048))
        with pytest.raises(Failure) as caught:
            await platform.open(text="x" * size)
        assert to_api_error(caught.value).status == 400
        assert to_api_error(caught.value).code == "context_length_exceeded"
        assert platform.quota.reserves == []


async def test_an_answer_without_a_token_costs_nothing() -> None:
    async with start_platform() as platform:
        batches = await collect(await platform.open())
        assert reasons_of(batches) == ["stop"]
        assert platform.quota.settled == []
        assert platform.quota.released == 1


async def test_usage_comes_from_quota() -> None:
    async with start_platform() as platform:
        usage = await platform.pipeline.usage(await platform.caller(), "2026-01-01", "2026-01-02")
        assert usage.balance == platform.quota.balance


async def test_draining_lets_answers_end_and_refuses_new_ones() -> None:
    async with start_platform(*WORDS) as platform:
        pause = platform.engine.pause_after(10)
        answer = await platform.open()
        draining = asyncio.create_task(platform.pipeline.drain(5))
        await pause.reached()
        with pytest.raises(Failure) as caught:
            await platform.open()
        assert to_api_error(caught.value).status == 503
        assert not platform.pipeline.ready
        pause.resume()
        assert text_of(await collect(answer)) == "".join(WORDS)
        await draining
        assert platform.quota.settled == [300]
