"""The processes that decode images: hung, killed and slow ones cost one request at most."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import psutil
import pytest
from PIL import Image

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


def slow_file() -> bytes:
    """A JPEG of 113 kB whose 16 million pixels get sharper 5,000 times, in ten bytes each."""
    file = written(Image.new("L", (4000, 4000), 128), "JPEG", progressive=True)
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x10"
    return file.removesuffix(b"\xff\xd9") + 5000 * scan + b"\xff\xd9"


@pytest.mark.parametrize("stopped", [True, False], ids=["hangs", "works and works"])
async def test_a_process_that_takes_too_long_is_killed_and_replaced(stopped: bool) -> None:
    pool = DecoderPool(1, timeout=0.3, pixels=20_000_000)
    await pool.start()
    try:
        [caught] = pool.pids
        if stopped:
            os.kill(caught, signal.SIGSTOP)
        with pytest.raises(InvalidImage, match="too long"):
            await pool.decode(RED if stopped else slow_file(), 1000, "image")
        assert not psutil.pid_exists(caught)
        with contextlib.suppress(InvalidImage):  # on a machine too busy for 0.3 s
            assert (await pool.decode(RED, 100, "image")).width == 100
            assert pool.pids != [caught]
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
