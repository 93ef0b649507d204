"""Comments on a silent stream, by a clock that the test moves (docs/wire.md, streams)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from services.edge.endpoints.chat import stream as sse
from services.edge.http.exchange import Exchange
from services.edge.http.heartbeat import Heartbeat
from tests.fakes import FakeClock

SILENCE = 15.0  # docs/settings.md, MUHGPT_EDGE_HEARTBEAT


class Loop:
    """The timers of an event loop, by the same clock."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Loop:
        self._due.append((self._clock.monotonic() + seconds, callback))
        return self

    def create_task(self, work: Any) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    def cancel(self) -> None:
        self._due.clear()

    async def pass_time(self, seconds: float) -> None:
        """Moves the clock, a second at a time, and runs what is due."""
        for _ in range(round(seconds)):
            self._clock.advance(1.0)
            due = [callback for at, callback in self._due if at <= self._clock.monotonic()]
            self._due = [(at, callback) for at, callback in self._due if at > self._clock.monotonic()]
            for callback in due:
                callback()
            for _ in range(3):
                await asyncio.sleep(0)


class Stream:
    """A stream under way: what was sent on it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.loop = Loop(self.clock)
        self.sent: list[bytes] = []
        self.stuck = asyncio.Event()
        self.stuck.set()
        scope = {"method": "POST", "headers": []}
        self.exchange = Exchange(scope, self._send, request_id="req_1", clock=self.clock)
        self.heartbeat = Heartbeat(self.exchange, sse.KEEP_ALIVE, SILENCE, self.clock, self.loop)

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message["body"])
        await self.stuck.wait()


async def test_a_comment_comes_only_after_fifteen_silent_seconds() -> None:
    stream = Stream()
    with stream.heartbeat:
        await stream.loop.pass_time(14)
        assert stream.sent == []
        await stream.loop.pass_time(1)
        assert stream.sent == [sse.KEEP_ALIVE]
        await stream.loop.pass_time(14)
        assert stream.sent == [sse.KEEP_ALIVE]
        await stream.loop.pass_time(2)
        assert stream.sent == [sse.KEEP_ALIVE] * 2


async def test_a_stream_that_speaks_gets_no_comments() -> None:
    stream = Stream()
    with stream.heartbeat:
        for _ in range(8):
            await stream.loop.pass_time(10)
            await stream.exchange.body(b"data", more=True)
    assert stream.sent == [b"data"] * 8


async def test_a_client_that_does_not_read_gets_no_comments_on_top() -> None:
    stream = Stream()
    with stream.heartbeat:
        stream.stuck.clear()
        sending = asyncio.create_task(stream.exchange.body(b"data", more=True))
        await stream.loop.pass_time(60)
        assert stream.sent == [b"data"]
        stream.stuck.set()
        await sending


async def test_after_the_end_nothing_is_said() -> None:
    stream = Stream()
    with stream.heartbeat:
        await stream.exchange.body(b"end")
        await stream.loop.pass_time(60)
    await stream.loop.pass_time(60)
    assert stream.sent == [b"end"]
