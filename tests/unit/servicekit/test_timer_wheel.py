"""Deadlines that expire, move and end; none before its time, none more than a tick late on a quiet machine."""

from __future__ import annotations

import asyncio

from servicekit.timer_wheel import Deadline, TimerWheel

TICK = 0.01


class Expired:
    """Remembers when, in seconds from its beginning, each name expired."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self._began = asyncio.get_running_loop().time()

    def note(self, name: str) -> None:
        assert name not in self.at, "a deadline expires once"
        self.at[name] = asyncio.get_running_loop().time() - self._began

    async def wait(self, *names: str) -> None:
        async with asyncio.timeout(10):
            while not set(names) <= set(self.at):  # noqa: ASYNC110  polled, as the wheel itself does
                await asyncio.sleep(TICK / 2)


async def test_a_deadline_expires_after_its_time_and_in_order() -> None:
    wheel, expired = TimerWheel(TICK), Expired()
    wheel.start(0.08, lambda: expired.note("late"))
    wheel.start(0.03, lambda: expired.note("early"))
    await expired.wait("early", "late")
    assert list(expired.at) == ["early", "late"]
    assert expired.at["early"] >= 0.03
    assert expired.at["late"] >= 0.08


async def test_a_deadline_that_is_moved_expires_when_the_last_move_says() -> None:
    wheel, expired = TimerWheel(TICK), Expired()
    later = wheel.start(0.02, lambda: expired.note("later"))
    sooner = wheel.start(60, lambda: expired.note("sooner"))
    later.move(0.1)
    sooner.move(0.03)
    await expired.wait("later", "sooner")
    assert list(expired.at) == ["sooner", "later"]
    assert expired.at["later"] >= 0.1


async def test_hastening_never_gives_more_time() -> None:
    wheel, expired = TimerWheel(TICK), Expired()
    first = wheel.start(0.02, lambda: expired.note("first"))
    second = wheel.start(60, lambda: expired.note("second"))
    first.hasten(60)
    second.hasten(0.02)
    await expired.wait("first", "second")


async def test_a_cancelled_deadline_never_expires_and_moves_no_more() -> None:
    wheel, expired = TimerWheel(TICK), Expired()
    cancelled = wheel.start(0.02, lambda: expired.note("cancelled"))
    cancelled.cancel()
    cancelled.move(0.01)
    cancelled.cancel()
    wheel.start(0.06, lambda: expired.note("other"))
    await expired.wait("other")
    assert "cancelled" not in expired.at


async def test_one_deadline_that_fails_keeps_no_other_from_expiring() -> None:
    wheel, expired = TimerWheel(TICK), Expired()

    def fail() -> None:
        raise RuntimeError("odd")

    wheel.start(0.02, fail)
    wheel.start(0.02, lambda: expired.note("other"))
    wheel.start(0.04, lambda: wheel.start(0.02, lambda: expired.note("begun by another")))
    await expired.wait("other", "begun by another")


async def test_a_wheel_that_has_stood_still_begins_again() -> None:
    wheel, expired = TimerWheel(TICK), Expired()
    wheel.start(0.01, lambda: expired.note("first"))
    await expired.wait("first")
    await asyncio.sleep(0.05)
    wheel.start(0.01, lambda: expired.note("second"))
    await expired.wait("second")


async def test_one_that_is_cancelled_by_another_of_its_tick_does_not_expire() -> None:
    wheel, expired = TimerWheel(tick=0.01), list[str]()
    deadlines: dict[str, Deadline] = {}

    def expire(name: str, other: str) -> None:
        expired.append(name)
        deadlines[other].cancel()

    deadlines["a"] = wheel.start(0.005, lambda: expire("a", "b"))
    deadlines["b"] = wheel.start(0.005, lambda: expire("b", "a"))
    await asyncio.sleep(0.05)
    assert len(expired) == 1
