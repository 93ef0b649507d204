"""The edge's pipeline in front of the upstream engine: what a client gets and pays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from muhgpt.inference.v1 import inference_pb2
from services.edge.peers.errors import Failure
from services.edge.serving.answer import Usage
from tests.fakes_engine import start_upstream
from tests.upstreams import Play, Upstream, chunk, end, stream, text, upstream, usage
from tests.worlds.in_process.pipeline import ScriptedPlatform, chat_request, collect, start_platform, text_of, until


@asynccontextmanager
async def platform_over(play: Play, **fields: Any) -> AsyncIterator[tuple[Upstream, ScriptedPlatform]]:
    """A platform whose model is answered by an upstream that plays this."""
    async with (
        upstream(play) as server,
        start_upstream(server.url, **fields) as engine,
        start_platform(engine=engine) as platform,  # type: ignore[arg-type]
    ):
        yield server, platform


async def test_cached_and_reasoning_tokens_reach_the_client() -> None:
    told = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}
    told |= {"completion_tokens_details": {"reasoning_tokens": 0}}
    async with platform_over(stream(text("Hello"), end(), {"choices": [], "usage": told})) as (_, platform):
        batches = await collect(await platform.open())
    assert text_of(batches) == "Hello"
    assert batches[-1].usage == Usage(9, 4, cached_tokens=8, reasoning_tokens=0)


async def test_an_upstream_is_sent_a_limit_only_when_the_client_or_its_money_sets_one() -> None:
    play = stream(text("Hello"), end(), usage(9, 1))
    async with platform_over(play) as (server, platform):
        await collect(await platform.open())
        await collect(await platform.open(max_tokens=7))
        platform.quota.balance = 800
        await collect(await platform.open())
    sent = [asked.body.get("max_tokens") for asked in server.requests]
    assert sent[:2] == [None, 7]
    assert 1 <= sent[2] < 800


async def test_what_a_server_leaves_undone_is_done_here_and_paid_as_it_was_generated() -> None:
    one = stream(text("Hello"), end(), usage(9, 2), done=False)
    async with platform_over(one) as (_, platform):
        batches = await collect(await platform.open(choices=3))
        assert text_of(batches) == "Hello" * 3
        assert batches[-1].usage == Usage(9, 6)
        assert platform.quota.settled == [6]


def forced_request() -> inference_pb2.ChatRequest:
    """One user message that must be answered with a call."""
    request = chat_request("muh-chat", "Look!")
    request.tools.add(name="look", parameters='{"type":"object"}')
    request.tool_choice.mode = inference_pb2.ToolChoice.MODE_REQUIRED
    return request


def called(pieces: int) -> list[dict[str, Any]]:
    """The beginning of a call whose arguments take about ten tokens a piece."""
    argument = "one two three four five six seven eight nine ten "
    named = chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "look", "arguments": '{"a":"'}}]})
    more = chunk({"tool_calls": [{"index": 0, "function": {"arguments": argument}}]})
    return [named, *[more] * pieces]


async def test_a_client_that_leaves_a_forced_call_before_its_end_pays_what_was_generated_within_its_hold() -> None:
    """The call is checked before anything of it is sent, so nothing had been delivered (G4). A stream's hold stands
    where it was; that of a whole answer has slid along."""
    async with platform_over(stream(*called(20), done=False, hold=True)) as (server, platform):
        streamed = asyncio.create_task(platform.open(request=forced_request(), streamed=True))
        await until(lambda: len(server.requests) == 1)
        whole = asyncio.create_task(platform.open(request=forced_request(), streamed=False))
        # Both calls take the same way, the streamed one first.
        await until(lambda: any(each.generated_tokens >= 150 for each in platform.quota.progress))
        for opening, least, most in ((streamed, 1, 64), (whole, 150, 300)):
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            await until(lambda: len(platform.quota.settled) == 1)
            assert least <= platform.quota.settled.pop() <= most
    assert platform.quota.released == 0
    assert all(each.delivered_tokens == 0 for each in platform.quota.progress)


async def test_a_forced_call_that_fails_its_check_costs_nothing_however_much_was_generated() -> None:
    play = stream(*called(20), end("tool_calls"), usage(9, 200))  # the arguments are no JSON
    async with platform_over(play) as (_, platform):
        with pytest.raises(Failure):
            await platform.open(request=forced_request(), streamed=False)
        await until(lambda: platform.quota.released == 1)
        assert platform.quota.settled == []
        assert [each.abandoned for each in platform.quota.releases] == [True], "the loss book has it"


async def test_a_forced_call_is_paid_once_when_it_comes_at_last() -> None:
    closing = chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"}'}}]})
    for streamed in (True, False):
        play = stream(*called(20), closing, end("tool_calls"), usage(9, 230))
        async with platform_over(play) as (_, platform):
            batches = await collect(await platform.open(request=forced_request(), streamed=streamed))
            assert batches[-1].usage == Usage(9, 230)
            assert platform.quota.settled == [230]
