"""Comments on a silent stream, by a clock that the test moves (docs/wire.md, streams)."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from services.edge.endpoints.chat import stream as sse
from services.edge.http.exchange import Exchange
from services.edge.http.heartbeat import Heartbeat
from tests.fakes import FakeClock

SILENCE = 15.0  # docs/settings.md, MUHGPT_EDGE_HEARTBEAT


@dataclass
class Timer:
    """One that was started."""

    at: float
    expired: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Timers:
    """Expire when the test moves the clock past them."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._started: list[Timer] = []

    def start(self, seconds: float, expired: Callable[[], None]) -> Timer:
        self._started.append(Timer(self._clock.monotonic() + seconds, expired))
        return self._started[-1]

    def pass_time(self, seconds: float) -> None:
        """Moves the clock, a second at a time."""
        for _ in range(round(seconds)):
            self._clock.advance(1.0)
            due = [timer for timer in self._started if timer.at <= self._clock.monotonic()]
            self._started = [timer for timer in self._started if timer not in due]
            for timer in due:
                if not timer.cancelled:
                    timer.expired()


class Stream:
    """A stream under way: what was sent on it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.timers = Timers(self.clock)
        self.sent: list[bytes] = []
        self.ready = True
        scope = {"method": "POST", "headers": [], "muhgpt.writer": self}
        self.exchange = Exchange(scope, self._send, request_id="req_1", clock=self.clock)
        self.heartbeat = Heartbeat(self.exchange, sse.KEEP_ALIVE, SILENCE, self.clock, self.timers)

    def when_ready(self, look: Callable[[], None]) -> None:
        pass

    def when_gone(self, leave: Callable[[], None]) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message["body"])


async def test_a_comment_comes_only_after_fifteen_silent_seconds() -> None:
    stream = Stream()
    with stream.heartbeat:
        stream.timers.pass_time(14)
        assert stream.sent == []
        stream.timers.pass_time(1)
        assert stream.sent == [sse.KEEP_ALIVE]
        stream.timers.pass_time(14)
        assert stream.sent == [sse.KEEP_ALIVE]
        stream.timers.pass_time(2)
        assert stream.sent == [sse.KEEP_ALIVE] * 2


async def test_a_stream_that_speaks_gets_no_comments() -> None:
    stream = Stream()
    with stream.heartbeat:
        for _ in range(8):
            stream.timers.pass_time(10)
            stream.exchange.write(b"data")
    assert stream.sent == [b"data"] * 8


async def test_a_client_that_does_not_read_gets_no_comments_on_top() -> None:
    stream = Stream()
    with stream.heartbeat:
        stream.exchange.write(b"data")
        stream.ready = False
        stream.timers.pass_time(60)
        assert stream.sent == [b"data"]


async def test_after_the_end_nothing_is_said() -> None:
    stream = Stream()
    with stream.heartbeat:
        await stream.exchange.body(b"end")
        stream.timers.pass_time(60)
    stream.timers.pass_time(60)
    assert stream.sent == [b"end"]
