"""Slots, the bounded queue, and accounts taking turns."""

from __future__ import annotations

import asyncio

import pytest

from services.inference.domain.errors import Overloaded
from services.inference.domain.fair_queue import Admission


class Crowd:
    """Tasks that hold slots until told to leave; remembers the order in which they got in."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.entered: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, account: str, choices: int = 1) -> None:
        self._leave[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._hold(name, account, choices))
        await settle()

    async def _hold(self, name: str, account: str, choices: int) -> None:
        async with self.admission.slot(account, choices):
            self.entered.append(name)
            await self._leave[name].wait()

    def release(self, name: str) -> None:
        self._leave[name].set()

    async def leave(self, name: str) -> None:
        self.release(name)
        await self._tasks[name]
        await settle()

    async def give_up(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_free_slots_are_taken_at_once_and_the_rest_waits() -> None:
    crowd = Crowd(Admission(slots=2, queue_limit=10))
    for name in "abc":
        await crowd.come(name, "acct")
    assert (crowd.entered, crowd.admission.running, crowd.admission.waiting) == (["a", "b"], 2, 1)
    await crowd.leave("a")
    assert (crowd.entered, crowd.admission.running, crowd.admission.waiting) == (["a", "b", "c"], 2, 0)


async def test_accounts_take_turns_however_many_requests_one_of_them_sends() -> None:
    crowd = Crowd(Admission(slots=1, queue_limit=10))
    await crowd.come("first", "greedy")
    for name in ("g1", "g2", "g3"):
        await crowd.come(name, "greedy")
    await crowd.come("m1", "modest")
    for name in ("first", "m1", "g1", "g2"):
        await crowd.leave(name)
    assert crowd.entered == ["first", "m1", "g1", "g2", "g3"]


async def test_who_waited_before_another_is_not_overtaken_by_those_who_come_later() -> None:
    crowd = Crowd(Admission(slots=1, queue_limit=20))
    for name in ("first", "g1", "g2"):
        await crowd.come(name, "greedy")
    for number in range(3):
        await crowd.come(f"new{number}", f"account-{number}")
    await crowd.leave("first")
    for number in range(3):  # one newcomer for each that is served: they must not keep the greedy one out for ever
        await crowd.come(f"later{number}", f"late-{number}")
        await crowd.leave(f"new{number}")
    assert crowd.entered == ["first", "new0", "new1", "new2", "g1"]


async def test_a_request_for_many_choices_is_not_starved_by_single_ones() -> None:
    crowd = Crowd(Admission(slots=2, queue_limit=10))
    await crowd.come("a", "x")
    await crowd.come("wide", "y", choices=8)
    await crowd.come("b", "z")
    assert crowd.entered == ["a"]
    await crowd.leave("a")
    assert crowd.entered == ["a", "wide"]
    await crowd.leave("wide")
    assert crowd.entered == ["a", "wide", "b"]


async def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    admission = Admission(slots=1, queue_limit=1)
    crowd = Crowd(admission)
    await crowd.come("a", "x")
    await crowd.come("b", "x")
    with pytest.raises(Overloaded) as caught:
        async with admission.slot("y", 1):
            raise AssertionError("admitted")
    assert caught.value.retry_after == 1.0
    assert (admission.running, admission.waiting) == (1, 1)


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    crowd = Crowd(Admission(slots=1, queue_limit=10))
    for name in "abc":
        await crowd.come(name, "x")
    await crowd.give_up("b")
    assert crowd.admission.waiting == 1
    await crowd.leave("a")
    assert crowd.entered == ["a", "c"]
    await crowd.leave("c")
    assert (crowd.admission.running, crowd.admission.waiting) == (0, 0)


@pytest.mark.parametrize("passes", range(5))
async def test_giving_up_around_the_moment_of_being_admitted_gives_the_slot_on(passes: int) -> None:
    crowd = Crowd(Admission(slots=1, queue_limit=10))
    for name in "abc":
        await crowd.come(name, "x")
    crowd.release("a")
    for _ in range(passes):
        await asyncio.sleep(0)
    await crowd.give_up("b")
    assert crowd.entered[-1] == "c"
    assert (crowd.admission.running, crowd.admission.waiting) == (1, 0)


async def test_every_change_is_told() -> None:
    changes: list[tuple[int, int]] = []
    admission = Admission(1, 10, lambda: changes.append((admission.waiting, admission.running)))
    crowd = Crowd(admission)
    await crowd.come("a", "x")
    await crowd.come("b", "x")
    await crowd.leave("a")
    await crowd.leave("b")
    assert changes == [(0, 1), (1, 1), (0, 1), (0, 0)]


async def test_an_account_at_its_own_bound_is_passed_over() -> None:
    crowd = Crowd(Admission(slots=4, queue_limit=10, most_of_one=3))
    for name in "abcde":
        await crowd.come(name, "greedy")
    assert crowd.entered == ["a", "b", "c"], "a slot is left for others"
    await crowd.come("other", "modest")
    assert crowd.entered[-1] == "other"
    await crowd.leave("other")
    assert crowd.entered[-1] == "other", "nor does the free slot go to it now"
    await crowd.leave("a")
    assert crowd.entered[-1] == "d"
