"""The edge's pipeline in front of the upstream engine: what a client gets and pays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.edge.answer import Usage
from tests.contract.edge.platform_for_edge import Platform, collect, start_platform, text_of
from tests.fakes_engine import start_upstream
from tests.upstreams import Play, Upstream, end, stream, text, upstream


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
