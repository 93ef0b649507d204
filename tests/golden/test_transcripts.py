"""The bytes of every kind of answer, as clients get them. `make golden` records them anew; read the diff then."""

from __future__ import annotations

import asyncio
import difflib
import os
from pathlib import Path

import pytest
import uvloop

from services.edge.endpoints.endpoint import HotLimits
from services.edge.http.protocol import Bounds
from tests.fakes import FakeClock
from tests.golden.exchanges import EXCHANGES, WINDOW, Exchange
from tests.golden.transcript import HEADER_LIMIT, REQUEST_ID, record
from tests.worlds.in_process.http_edge import serving
from tests.worlds.in_process.scripted_gateway import ScriptedGateway

TRANSCRIPTS = Path(__file__).parent / "transcripts"
RECORD = bool(os.environ.get("RECORD_GOLDEN"))


@pytest.fixture(scope="session")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The edge's own loop."""
    return uvloop.EventLoopPolicy()


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
async def test_the_bytes_are_those_that_were_recorded(exchange: Exchange) -> None:
    gateway = ScriptedGateway(**{"window": WINDOW, **exchange.gateway})
    limits, bounds = HotLimits(max_body_bytes=4096), Bounds(header_bytes=HEADER_LIMIT)
    fixed = {"clock": FakeClock(), "new_id": lambda: REQUEST_ID}
    async with serving(gateway, bounds, limits, 600, **fixed) as edge:
        seen = await record(edge, exchange)
    file = TRANSCRIPTS / f"{exchange.name}.txt"
    if RECORD:
        file.write_text(seen)
        pytest.skip("recorded")
    known = file.read_text() if file.exists() else ""
    difference = difflib.unified_diff(known.splitlines(), seen.splitlines(), "recorded", "seen", lineterm="", n=2)
    assert seen == known, "\n".join(["the answer has changed; if that is meant: make golden", *difference])


def test_no_transcript_is_left_of_an_exchange_that_is_gone() -> None:
    assert {file.stem for file in TRANSCRIPTS.iterdir()} == {exchange.name for exchange in EXCHANGES}
