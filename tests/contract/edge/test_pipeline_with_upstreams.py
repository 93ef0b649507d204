"""The edge's pipeline in front of the upstream engine: what a client gets and pays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.edge.answer import Usage
from tests.contract.edge.platform_for_edge import Platform, collect, start_platform, text_of
from tests.fakes_engine import start_upstream
from tests.upstreams import Play, Upstream, end, stream, text, upstream, usage


@asynccontextmanager
async def platform_over(play: Play, **fields: Any) -> AsyncIterator[tuple[Upstream, Platform]]:
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
