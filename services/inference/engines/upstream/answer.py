"""One answer of an upstream, read as it comes and pushed into a sink, until it is whole or its time is over."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from servicekit.timer_wheel import TimerWheel
from services.inference.domain.engine import Delta, Sink
from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.answer_events import MAX_SILENT, AnswerEvents
from services.inference.engines.upstream.chunks import ChunkReader
from services.inference.engines.upstream.http.receiver import HttpCall

LARGE = 8192  # bytes of events that came together
USAGE_TIMEOUT = 5.0  # seconds that the usage may come behind the last choice's end
LOOK_AGAIN = 0.1  # seconds, while what came is still being read


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. Comments and chunks without output do not count as progress."""

    first_token: float
    next_token: float


class Answer:
    """Bytes in, deltas out, each in the call that brings it. Implements Source.

    What came together and is large is read in a thread; what comes meanwhile waits here, and the upstream is held back.
    """

    def __init__(self, reader: ChunkReader, sink: Sink, patience: Patience, timers: TimerWheel) -> None:
        self.receiver = AnswerEvents(timers, self._on_events, self._on_over)
        self._reader = reader
        self._sink = sink
        self._patience = patience
        self._call: HttpCall | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deadline = timers.start(patience.first_token, self._expire)
        self._started = self._complete = False
        self._progress = self._silent = 0
        self._full = False  # the sink takes no more for now
        self._thread: asyncio.Future[list[Delta]] | None = None  # that reads events
        self._waiting: deque[list[bytes]] = deque()  # for the thread
        self._over: list[Exception | None] = []  # the HTTP answer's end, once it is there

    async def read(self, call: HttpCall) -> None:
        """Until the answer is whole. Raises TargetFailed, and InvalidRequest when the upstream says so."""
        self._call = call
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
        if self._full or self._thread is not None:
            self._call.pause()
        else:
            self._call.resume()

    def _on_events(self, events: list[bytes]) -> None:
        if self._ended.done():
            return
        if self._thread is not None:
            self._waiting.append(events)
            return
        size = sum(map(len, events))
        if size > LARGE:  # takes longer to count than the loop may stand still
            self._read_in_thread(events, size)
            return
        try:
            self._take(_read(self._reader, events), size)
        except Exception as error:  # noqa: BLE001  (read() raises it)
            self._end(error)

    def _read_in_thread(self, events: list[bytes], size: int) -> None:
        loop = asyncio.get_running_loop()
        self._thread = loop.run_in_executor(None, _read, self._reader, events)
        self._thread.add_done_callback(lambda reading: self._read_there(reading, size))
        self._steer()

    def _read_there(self, reading: asyncio.Future[list[Delta]], size: int) -> None:
        self._thread = None
        try:
            self._take(reading.result(), size)
        except Exception as error:  # noqa: BLE001  (read() raises it)
            self._end(error)
        while self._waiting and self._thread is None:
            self._on_events(self._waiting.popleft())
        if self._thread is None:
            if self._over:
                self._end(self._over[0])
            self._steer()

    def _take(self, deltas: list[Delta], size: int) -> None:
        """What some events of so many bytes brought."""
        if self._ended.done():
            return
        reader = self._reader
        self._silent += size
        if (progress := reader.progress) > self._progress and not self._complete:
            self._silent, self._started, self._progress = 0, True, progress
            self._deadline.move(self._patience.next_token)
        elif self._silent > MAX_SILENT:
            raise TargetFailed("the upstream sends without end and brings nothing", "oversized")
        if deltas:
            self._sink.on_deltas(deltas)
        if reader.enough:
            self._end(None)
        elif not self._complete and reader.complete:
            self._complete = True
            self._deadline.hasten(USAGE_TIMEOUT)

    def _on_over(self, error: Exception | None) -> None:
        self._over.append(error)
        if self._thread is None:
            self._end(error)

    def _expire(self) -> None:
        if self._full or self._thread is not None:
            self._deadline = self._deadline.wheel.start(LOOK_AGAIN, self._expire)
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


def _read(reader: ChunkReader, events: list[bytes]) -> list[Delta]:
    return [delta for event in events for delta in reader.read(event)]
