"""Images against the pod's memory: by its settings, and measured."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
import yaml
from PIL import Image

from services.inference.domain.errors import InvalidImage
from services.inference.images.decoders import DecoderPool
from services.inference.settings import InferenceSettings
from tests.pictures import picture, written

MIB = 1024 * 1024
DEPLOYMENT = Path(__file__).parents[3] / "deploy" / "k8s" / "base" / "inference" / "deployment.yaml"
ITSELF, WORKER = (
    200,
    300,
)  # MiB: the service, and llama.cpp with the shipped model and without its cache (docs/engine.md)
COPIES = 2.5  # of a picture's bytes, from JPEG to what the engine is sent (docs/settings.md)
LARGEST = (6400, 6250)  # 40 million pixels


def settings() -> InferenceSettings:
    return InferenceSettings()


def pod_limit_mib() -> int:
    deployment = yaml.safe_load(DEPLOYMENT.read_text())
    limit = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    return int(limit.removesuffix("Gi")) * 1024


def test_what_the_settings_allow_adds_up_to_less_than_the_pods_limit() -> None:
    s = settings()
    decoders = s.images_processes * s.images_decode_memory_mib
    pictures = COPIES * s.images_memory_mib
    assert decoders + pictures + s.llama_prompt_cache_mib + ITSELF + WORKER < pod_limit_mib()


def file(kind: str, mode: str, **options: object) -> bytes:
    output = io.BytesIO()
    Image.new(mode, LARGEST).save(output, kind, **options)
    return output.getvalue()


def peak_mib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


async def test_sixteen_images_of_40_megapixels_in_four_requests_stay_within_the_decoders_memory() -> None:
    s = settings()
    bomb = await asyncio.to_thread(file, "WEBP", "RGB", lossless=True, method=0)
    assert len(bomb) < 4096
    pool = DecoderPool(s.images_processes, memory_mib=s.images_decode_memory_mib)
    await pool.start()
    try:
        bombs = [pool.decode(bomb, 1024, "image", f"account {n % 4}") for n in range(16)]
        outcomes = await asyncio.gather(*bombs, return_exceptions=True)
        assert all(isinstance(outcome, InvalidImage) for outcome in outcomes)
        assert sum(map(peak_mib, pool.pids)) < s.images_processes * s.images_decode_memory_mib
        assert len(pool.pids) == s.images_processes, "they are refused, and kill nothing"
        assert (await pool.decode(written(picture("red")), 100, "image")).width
    finally:
        await pool.close()


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("GIF", "P"), ("JPEG", "RGB")]
)
async def test_other_kinds_of_the_most_pixels_are_decoded_within_it(kind: str, mode: str) -> None:
    largest = await asyncio.to_thread(file, kind, mode)
    s = settings()
    pool = DecoderPool(1, timeout=60, memory_mib=s.images_decode_memory_mib)
    await pool.start()
    try:
        decoded = await pool.decode(largest, 1024, "image")
        assert (decoded.width, decoded.height) == (1024, 1000)
        assert peak_mib(pool.pids[0]) < s.images_decode_memory_mib
    finally:
        await pool.close()


async def test_one_account_leaves_a_process_to_the_others() -> None:
    pool = DecoderPool(2)
    await pool.start()
    try:
        slow = await asyncio.to_thread(file, "PNG", "RGBA")
        greedy = [asyncio.create_task(pool.decode(slow, 1024, "image", "greedy")) for _ in range(3)]
        await asyncio.sleep(0)
        await pool.decode(written(picture("red")), 100, "image", "modest")
        assert not any(task.done() for task in greedy)
        await asyncio.gather(*greedy)
    finally:
        await pool.close()
