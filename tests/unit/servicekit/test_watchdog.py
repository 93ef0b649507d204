"""What keeps an event loop silent is measured, and named in the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog
import uvloop
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from servicekit.process.watchdog import watching

LOOPS = [uvloop.new_event_loop, asyncio.new_event_loop]


def keep_busy(seconds: float) -> None:
    """In Python, as a loop over a client's data would be."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def keep_the_lock(seconds: float) -> None:
    """In C, without letting any other thread run, as a parser would be."""
    until = time.thread_time() + seconds
    text = "x" * 2_000_000
    while time.thread_time() < until:
        text.replace("x", "yy")


def stand_still(seconds: float) -> None:
    """Without any CPU, as a file on a dead disk would be."""
    time.sleep(seconds)


def watched(
    work: Callable[[], Coroutine[Any, Any, None]], new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> list[Any]:
    structlog.reset_defaults()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with watching(loop) as watchdog:
            await work()
            answered = asyncio.Event()
            loop.call_soon(answered.set)
            await answered.wait()
            await watchdog.seen()

    with capture_logs() as logs, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    return [entry for entry in logs if entry["event"] == "event_loop_stalled"]


def stalls() -> float:
    return REGISTRY.get_sample_value("muhgpt_event_loop_stalls_total") or 0.0


@pytest.mark.parametrize("new_loop", LOOPS, ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("silence", [keep_busy, keep_the_lock, stand_still])
def test_a_callback_that_keeps_the_loop_is_logged_with_its_place(
    silence: Callable[[float], None], new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    before = stalls()

    async def work() -> None:
        silence(0.4)

    logged = watched(work, new_loop)
    assert stalls() > before
    assert any(silence.__name__ in frame for entry in logged for frame in entry["frames"])
    assert max(entry["milliseconds"] for entry in logged) > 300
    assert (REGISTRY.get_sample_value("muhgpt_event_loop_longest_stall_seconds") or 0.0) > 0.3


def test_a_loop_that_answers_is_not_blamed() -> None:
    async def work() -> None:
        for _ in range(20):
            keep_busy(0.005)
            await asyncio.sleep(0)

    assert watched(work, uvloop.new_event_loop) == []


def test_many_stalls_are_one_line_in_ten_seconds() -> None:
    async def work() -> None:
        for _ in range(3):
            keep_busy(0.1)
            await asyncio.sleep(0.03)

    before = stalls()
    assert len(watched(work, uvloop.new_event_loop)) == 1
    assert stalls() - before >= 2
