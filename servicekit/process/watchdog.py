"""Finds what keeps the event loop silent: while one callback runs, no other client is served.

A thread asks the loop for a sign of life forty times a second and looks at its stack when none comes. Neither uvloop
nor asyncio says how long callbacks take, and the debug mode of asyncio costs too much.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from prometheus_client import Counter, Gauge

from servicekit.observability.logging import get_logger

log = get_logger(__name__)

THRESHOLD = 0.05  # seconds of silence that are reported
TICK = 0.025  # seconds between two signs of life
LOG_INTERVAL = 10.0  # seconds between two log lines; those between are counted
WINDOW = 60.0  # seconds that the gauge looks back, at least half of them and at most all
MAX_FRAMES = 8
# Where a loop waits for events: then the process was not running, because the machine was busy or stood still.
_WAITING = ("/asyncio/runners.py", "/asyncio/base_events.py", "/selectors.py", "/uvloop/__init__.py")
_OURS = ("/services/", "/servicekit/")

LONGEST = Gauge(
    "muhgpt_event_loop_longest_stall_seconds",
    "The longest time within the last minute in which the event loop answered nobody",
    multiprocess_mode="livemax",
)
STALLS = Counter("muhgpt_event_loop_stalls_total", "Times the event loop answered nobody for more than 50 ms")


class Watchdog:
    """Watches the loop of the thread that starts it, until it is stopped. Times in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, threshold: float = THRESHOLD, tick: float = TICK) -> None:
        self._loop = loop
        self._threshold = threshold
        self._tick = tick
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._stopped = threading.Event()
        self._asked = self._answered = 0  # signs of life
        self._asked_at = 0.0
        self._cpu_at_answer = 0.0
        self._stack: list[str] = []
        self._longest = _Longest()
        self._logged_at = float("-inf")
        self._unlogged = 0

    def start(self) -> None:
        """To be called in the loop's thread."""
        self._watched = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._watched)
        self._cpu_at_answer = time.thread_time()
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended."""
        self._stopped.set()
        self._thread.join(timeout=1.0)

    async def seen(self) -> None:
        """Returns once a sign of life that was asked for from now on has come: what was silent before is reported."""
        asked = self._asked
        while self._answered <= asked:  # noqa: ASYNC110  (in tests)
            await asyncio.sleep(self._tick)

    # In the thread

    def _watch(self) -> None:
        while not self._stopped.wait(self._tick):
            if time.clock_gettime(self._clock) - self._cpu_at_answer >= self._tick or self._asked > self._answered:
                self._look()
            if self._asked == self._answered:
                self._ask()
            self._longest.show(time.monotonic())

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        self._asked += 1
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # the loop is closed
            self._stopped.set()

    def _look(self) -> None:
        """Remembers where the loop's thread is. While C code keeps Python's lock this thread waits too, and then sees
        the line that called it."""
        frame = sys._current_frames().get(self._watched)
        stack = [_place(each) for each in _outwards(frame)]
        if stack and not self._stack:
            self._stack = stack

    # In the loop

    def _answer(self) -> None:
        now, cpu = time.monotonic(), time.thread_time()
        silent, used = now - self._asked_at, cpu - self._cpu_at_answer
        # It may have been silent before it was asked; what it computed since its last sign of life tells.
        stalled = max(silent, used)
        stack, self._stack = self._stack, []
        self._cpu_at_answer = cpu
        self._answered = self._asked
        if stalled >= self._threshold:
            self._report(now, stalled, used, stack)

    def _report(self, now: float, stalled: float, used: float, stack: list[str]) -> None:
        STALLS.inc()
        self._longest.add(now, stalled)
        if used < stalled / 2 and not any(any(name in place for name in _OURS) for place in stack):
            return  # the loop had nothing to do or no processor: there is nobody to blame
        if now - self._logged_at < LOG_INTERVAL:
            self._unlogged += 1
            return
        ours = next((place for place in stack if any(name in place for name in _OURS)), None)
        log.warning(
            "event_loop_stalled",
            milliseconds=round(stalled * 1000),
            cpu_milliseconds=round(used * 1000),
            place=ours or (stack[0] if stack else "unknown"),
            frames=stack[:MAX_FRAMES],
            more=self._unlogged,
        )
        self._logged_at, self._unlogged = now, 0


class _Longest:
    """The longest stall of this half of the window and the one before."""

    def __init__(self) -> None:
        self._before = self._now = self._shown = 0.0
        self._began = time.monotonic()

    def add(self, now: float, seconds: float) -> None:
        """Another stall."""
        self._now = max(self._now, seconds)
        self.show(now)

    def show(self, now: float) -> None:
        """Sets the gauge, without what is too old."""
        if now - self._began >= WINDOW / 2:
            self._before, self._now, self._began = self._now, 0.0, now
        longest = max(self._before, self._now)
        if longest != self._shown:
            self._shown = longest
            LONGEST.set(longest)


@contextmanager
def watching(loop: asyncio.AbstractEventLoop) -> Iterator[Watchdog]:
    """Watches this thread's loop while the block runs."""
    watchdog = Watchdog(loop)
    watchdog.start()
    try:
        yield watchdog
    finally:
        watchdog.stop()


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """A stack from its innermost frame, up to the loop; nothing for a loop that waits."""
    while frame is not None and not frame.f_code.co_filename.endswith(_WAITING):
        yield frame
        frame = frame.f_back


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}"
