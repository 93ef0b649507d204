"""The outbox: order, what goes together, and lanes that fill."""

from __future__ import annotations

import asyncio

from services.inference.domain.engine import Delta
from services.inference.domain.outbox import LANE_LIMIT, MESSAGE_LIMIT, Outbox


def delta(text: str) -> Delta:
    return Delta(0, text, 1)


async def test_all_that_queued_is_taken_at_once_in_order() -> None:
    box = Outbox()
    one, two = box.lane(1), box.lane(2)
    for lane, text in ((one, "a"), (two, "b"), (one, "c")):
        lane.put(delta(text))
    await box.filled()
    assert [(number, event.text) for number, event in box.take()] == [(1, "a"), (2, "b"), (1, "c")]
    assert box.take() == []


async def test_a_message_is_bounded_and_the_rest_follows() -> None:
    box = Outbox()
    lane = box.lane(1)
    for number in range(MESSAGE_LIMIT + 3):
        lane.put(delta(str(number)))
    assert len(box.take()) == MESSAGE_LIMIT
    assert [event.text for _, event in box.take()] == [str(MESSAGE_LIMIT + n) for n in range(3)]


async def test_a_full_lane_waits_until_its_events_are_taken_and_others_do_not() -> None:
    box = Outbox()
    full, other = box.lane(1), box.lane(2)
    for _ in range(LANE_LIMIT):
        full.put(delta("x"))
    waiting = asyncio.create_task(full.room())
    await asyncio.wait_for(other.room(), 1)
    await asyncio.sleep(0)
    assert not waiting.done()
    box.take()
    await asyncio.wait_for(waiting, 1)


async def test_waking_lets_the_writer_look_without_events() -> None:
    box = Outbox()
    box.wake()
    await asyncio.wait_for(box.filled(), 1)
    assert box.take() == []
