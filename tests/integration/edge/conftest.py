"""The real HTTP server of the edge on a loopback port, with a scripted pipeline behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import uvloop

from services.edge.endpoints.endpoint import HotLimits
from services.edge.http.cors import Cors
from services.edge.http.limits import LimitNumbers
from services.edge.http.protocol import Bounds
from tests.worlds.in_process.http_edge import Edge, StartEdge, serving
from tests.worlds.in_process.scripted_gateway import ScriptedGateway


@pytest.fixture(scope="session")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The edge runs on uvloop, whose transports differ in what closing and pausing mean."""
    return uvloop.EventLoopPolicy()


@pytest.fixture
async def start_edge() -> AsyncIterator[StartEdge]:
    async with AsyncExitStack() as stack:

        async def start(
            gateway: ScriptedGateway | None = None,
            *,
            bounds: Bounds | None = None,
            limits: HotLimits | None = None,
            reads: int = 600,
            cors: str | None = None,
            numbers: LimitNumbers | None = None,
        ) -> Edge:
            pages = Cors.parse(cors)
            context = serving(
                gateway or ScriptedGateway(),
                bounds or Bounds(),
                limits or HotLimits(),
                reads,
                cors=pages,
                numbers=numbers,
            )
            return await stack.enter_async_context(context)

        yield start


@pytest.fixture
async def edge(start_edge: StartEdge) -> Edge:
    return await start_edge()
