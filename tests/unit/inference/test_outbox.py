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


async def test_what_follows_in_the_next_iteration_goes_with_the_first_event() -> None:
    box, sent = Outbox(), []

    async def write() -> None:
        while True:
            await box.filled()
            sent.append([event.text for _, event in box.take()])

    writer = asyncio.create_task(write())
    await asyncio.sleep(0)
    lane = box.lane(1)
    lane.put(delta("a"))
    asyncio.get_running_loop().call_soon(lane.put, delta("b"))
    for _ in range(5):
        await asyncio.sleep(0)
    lane.put(delta("c"))
    for _ in range(5):
        await asyncio.sleep(0)
    writer.cancel()
    assert sent == [["a", "b"], ["c"]]


class Reader:
    """A source that remembers whether it may read."""

    def __init__(self) -> None:
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


async def test_a_full_lane_pauses_its_own_sources_until_its_events_are_taken() -> None:
    box = Outbox()
    full, other = box.lane(1), box.lane(2)
    readers = [Reader(), Reader(), Reader()]
    full.attach(readers[0])
    other.attach(readers[1])
    for _ in range(LANE_LIMIT - 1):
        full.put(delta("x"))
    assert not any(reader.paused for reader in readers)
    full.put(delta("x"))
    full.put(delta("what was under way is taken too"))
    full.attach(readers[2])
    assert [reader.paused for reader in readers] == [True, False, True]
    assert len(box.take()) == LANE_LIMIT + 1
    assert not any(reader.paused for reader in readers)


async def test_a_source_that_has_ended_is_not_called_any_more() -> None:
    box = Outbox()
    lane, reader = box.lane(1), Reader()
    lane.attach(reader)
    lane.detach(reader)
    for _ in range(LANE_LIMIT):
        lane.put(delta("x"))
    assert not reader.paused


async def test_a_lane_is_read_again_only_when_much_of_it_is_sent() -> None:
    box = Outbox()
    lane, reader, other = box.lane(1), Reader(), box.lane(2)
    lane.attach(reader)
    for _ in range(MESSAGE_LIMIT - 1):
        other.put(delta("y"))
    for _ in range(LANE_LIMIT):
        lane.put(delta("x"))
    box.take()
    assert lane.unsent == LANE_LIMIT - 1
    assert reader.paused
    box.take()
    assert not reader.paused


async def test_waking_lets_the_writer_look_without_events() -> None:
    box = Outbox()
    box.wake()
    await asyncio.wait_for(box.filled(), 1)
    assert box.take() == []
