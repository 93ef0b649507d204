"""What one event of an upstream costs, counted and not timed: Python calls from its bytes to the session's message.

Only a commit that says why raises a ceiling.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import FrameType

from servicekit.clock import SystemClock
from servicekit.timer_wheel import TimerWheel
from services.inference import convert
from services.inference.domain.engine import Prepared
from services.inference.domain.generation import Generation
from services.inference.domain.outbox import Outbox
from services.inference.engines.sinks import Passing
from services.inference.engines.upstream.answer import Answer, Patience
from services.inference.engines.upstream.chunks import ChunkReader
from services.inference.engines.upstream.tokens.counter import TokenCounter
from services.inference.engines.upstream.tokens.processes import CountingProcesses
from services.inference.metrics import GENERATION_METER
from tests.upstreams import encoded, text

EVENTS = 500
WORDS = ("The", " quick", " brown", " fo", "x", " jump", "s", ".", " It")
MAX_CALLS = 42  # of Python functions, for an event that comes alone (40 on CPython 3.11)
MAX_CALLS_TOGETHER = 27  # for one of eight that come together (25)


class Call:
    """An HTTP call that is never held back."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def cancel(self) -> None: ...
    def leave(self) -> None: ...


def calls(work: Callable[[], None]) -> int:
    """How many Python functions were called."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


async def calls_for_an_event(together: int) -> float:
    """Of a generation that runs: bytes in, messages out."""
    outbox = Outbox()
    lane = outbox.lane(1)
    generation = Generation("req-1", lane, SystemClock(), GENERATION_METER)
    generation.prepare("muh-chat", Prepared(7, 100_000), 1)
    generation.go()
    generation.grant()
    counter = TokenCounter("", CountingProcesses(), None)
    reader = ChunkReader(1, 100_000, lambda: "call_1", counter)
    answer = Answer(reader, Passing(generation), Patience(60.0, 30.0), TimerWheel())
    reading = asyncio.create_task(answer.read(Call()))
    await asyncio.sleep(0)
    answer.receiver.on_head(200, {b"content-type": b"text/event-stream"})
    pieces = [encoded(text(word), done=False) for word in WORDS]
    data = [b"".join(pieces[(first + n) % len(pieces)] for n in range(together)) for first in range(len(pieces))]

    def push() -> None:
        for number in range(EVENTS // together):
            answer.receiver.on_data(data[number % len(data)])
            if lane.unsent >= 32:
                convert.from_events(outbox.take())

    push()  # the first time words are counted and metrics found
    counted = calls(push)
    reading.cancel()
    return counted / EVENTS


async def test_an_event_costs_few_calls() -> None:
    assert await calls_for_an_event(1) <= MAX_CALLS


async def test_events_that_come_together_share_some_of_them() -> None:
    assert await calls_for_an_event(8) <= MAX_CALLS_TOGETHER
