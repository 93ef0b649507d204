"""One answer of an upstream, read as it comes and pushed into a sink, until it is whole or its time is over."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from servicekit.timer_wheel import Deadline, TimerWheel
from services.inference.domain.engine import Delta, Sink
from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.answer_events import MAX_SILENT, AnswerEvents
from services.inference.engines.upstream.chunks import ChunkReader
from services.inference.engines.upstream.http.receiver import HttpCall

MAX_AT_ONCE = 8192  # bytes of events: counting more may take longer than the loop may stand still
USAGE_TIMEOUT = 5.0  # seconds that the usage may come behind the last choice's end
LOOK_AGAIN = 0.1  # seconds, while what came is still being read


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. Comments and chunks without output do not count as progress."""

    first_token: float
    next_token: float


class Answer:
    """Bytes in, deltas out, each in the call that brings it. Implements Source.

    Of what comes together so much is read at once as the loop can bear, the rest in its next iterations; a single event
    above that in a thread. Meanwhile the upstream is held back.
    """

    def __init__(self, reader: ChunkReader, sink: Sink, patience: Patience, timers: TimerWheel) -> None:
        self.receiver = AnswerEvents(timers, self._on_events, self._on_over)
        self._reader = reader
        self._sink = sink
        self._patience = patience
        self._call: HttpCall | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timers = timers
        self._deadline: Deadline
        self.begun = False  # output was pushed
        self._started = self._complete = False
        self._progress = self._silent = 0
        self._full = False  # the sink takes no more for now
        self._waiting: deque[bytes] = deque()  # events that are still to be read …
        self._busy = False  # … once this iteration, or the thread, is through
        self._over: list[Exception | None] = []  # the HTTP answer's end, once it is there

    async def read(self, call: HttpCall) -> None:
        """Until the answer is whole. Raises TargetFailed, and InvalidRequest when the upstream says so."""
        self._call = call
        self._deadline = self._timers.start(self._patience.first_token, self._expire)
        self._sink.attach(self)
        try:
            await self._ended
        except BaseException:
            call.cancel()
            raise
        else:
            call.leave()
        finally:
            self._sink.detach(self)
            self._deadline.cancel()
            self.receiver.leave()

    def pause(self) -> None:
        """See Source."""
        self._full = True
        self._steer()

    def resume(self) -> None:
        """See Source. The next token has all its time again: it was not the upstream that was slow."""
        self._full = False
        self._deadline.move(self._patience.next_token if self._started else self._patience.first_token)
        if self._complete:
            self._deadline.hasten(USAGE_TIMEOUT)
        self._steer()

    def _steer(self) -> None:
        if self._call is None or self._ended.done():
            return
        if self._full or self._busy:
            self._call.pause()
        else:
            self._call.resume()

    def _on_events(self, events: list[bytes]) -> None:
        if self._busy or (size := sum(map(len, events))) > MAX_AT_ONCE:
            self._waiting.extend(events)
            if not self._busy:
                self._go_on()
        else:
            self._read(events, size)

    def _read(self, events: list[bytes], size: int) -> None:
        try:
            self._take(_deltas(self._reader, events), size)
        except Exception as error:  # noqa: BLE001  (read() raises it)
            self._end(error)

    def _go_on(self) -> None:
        """Reads the next part of what waits."""
        if self._ended.done():
            return
        loop = asyncio.get_running_loop()
        events, size = self._next_part()
        self._busy = True
        if size > MAX_AT_ONCE:
            reading = loop.run_in_executor(None, _deltas, self._reader, events)
            reading.add_done_callback(lambda _: self._read_there(reading, size))
        else:
            self._read(events, size)
            loop.call_soon(self._through)
        self._steer()

    def _next_part(self) -> tuple[list[bytes], int]:
        """Events, and how many bytes they are: at least one, and no more than can be read at once."""
        events = [self._waiting.popleft()]
        size = len(events[0])
        while self._waiting and size + len(self._waiting[0]) <= MAX_AT_ONCE:
            size += len(self._waiting[0])
            events.append(self._waiting.popleft())
        return events, size

    def _read_there(self, reading: asyncio.Future[list[Delta]], size: int) -> None:
        """The thread has read a large event."""
        try:
            self._take(reading.result(), size)
        except Exception as error:  # noqa: BLE001  (read() raises it)
            self._end(error)
        self._through()

    def _through(self) -> None:
        """A part of what waits has been read."""
        self._busy = False
        if self._waiting:
            self._go_on()
        elif self._over:
            self._end(self._over[0])
        else:
            self._steer()

    def _take(self, deltas: list[Delta], size: int) -> None:
        """What some events of so many bytes brought."""
        if self._ended.done():
            return
        self._silent += size
        progress, enough, complete = self._reader.look()
        if progress > self._progress and not self._complete:
            self._silent, self._started, self._progress = 0, True, progress
            self._deadline.move(self._patience.next_token)
        elif self._silent > MAX_SILENT:
            raise TargetFailed("the upstream sends without end and brings nothing", "oversized")
        if deltas:
            self.begun = True
            self._sink.on_deltas(deltas)
        if enough:
            self._end(None)
        elif complete and not self._complete:
            self._complete = True
            self._deadline.hasten(USAGE_TIMEOUT)

    def _on_over(self, error: Exception | None) -> None:
        self._over.append(error)
        if not self._busy:
            self._end(error)

    def _expire(self) -> None:
        if self._full or self._busy:
            self._deadline = self._timers.start(LOOK_AGAIN, self._expire)
        elif self._reader.seen_complete:
            self._end(None)
        else:
            what = "next" if self._started else "first"
            self._end(TargetFailed(f"the {what} token did not come within its time", "timeout"))

    def _end(self, error: Exception | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)


def _deltas(reader: ChunkReader, events: list[bytes]) -> list[Delta]:
    return [delta for event in events for delta in reader.read(event)]
