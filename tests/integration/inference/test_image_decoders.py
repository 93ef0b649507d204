"""The processes that decode images: hung, killed and slow ones cost one request at most."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import psutil
import pytest

from services.inference.domain.errors import InvalidImage
from services.inference.images.decoders import DecoderPool
from tests.pictures import picture, read, written

RED = written(picture("red", (300, 200)))


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    decoders = DecoderPool(1, timeout=30, pixels=1_000_000)
    await decoders.start()
    yield decoders
    await decoders.close()


async def test_pictures_are_decoded_in_another_process(pool: DecoderPool) -> None:
    decoded = await asyncio.gather(*(pool.decode(RED, 100, "image") for _ in range(5)))
    assert {(each.width, each.height) for each in decoded} == {(100, 67)}
    assert read(decoded[0].jpeg).size == (100, 67)
    assert len(pool.pids) == 1
    assert os.getpid() not in pool.pids


@pytest.mark.parametrize("file", [b"no image", RED[:200], written(picture("red", (2000, 2000)))])
async def test_a_bad_file_is_refused_by_its_name_and_the_process_goes_on(pool: DecoderPool, file: bytes) -> None:
    before = pool.pids
    with pytest.raises(InvalidImage, match=r"^messages\[0\]") as caught:
        await pool.decode(file, 100, "messages[0]")
    assert caught.value.param == "messages[0]"
    assert await pool.decode(RED, 100, "image")
    assert pool.pids == before


async def test_a_process_that_hangs_is_killed_and_replaced() -> None:
    pool = DecoderPool(1, timeout=0.3, pixels=1_000_000)
    await pool.start()
    try:
        [hung] = pool.pids
        os.kill(hung, signal.SIGSTOP)
        with pytest.raises(InvalidImage, match="too long"):
            await pool.decode(RED, 100, "image")
        assert hung not in pool.pids
        assert not psutil.pid_exists(hung)
    finally:
        await pool.close()


async def test_a_process_that_died_is_replaced_and_no_client_notices(pool: DecoderPool) -> None:
    [first] = pool.pids
    for _ in range(3):
        os.kill(pool.pids[0], signal.SIGKILL)
        assert (await pool.decode(RED, 100, "image")).width == 100
    assert pool.pids != [first]


async def test_a_request_that_is_cancelled_leaves_no_answer_for_the_next(pool: DecoderPool) -> None:
    os.kill(pool.pids[0], signal.SIGSTOP)  # so that it surely is in the middle
    decoding = asyncio.create_task(pool.decode(RED, 100, "image"))
    for _ in range(10):
        await asyncio.sleep(0)
    decoding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await decoding
    blue = await pool.decode(written(picture("blue")), 100, "image")
    assert read(blue.jpeg).getpixel((5, 5)) == pytest.approx((0, 0, 255), abs=4)


async def test_closing_ends_the_processes(pool: DecoderPool) -> None:
    [pid] = pool.pids
    await pool.close()
    assert not pool.pids
    assert not psutil.pid_exists(pid)
