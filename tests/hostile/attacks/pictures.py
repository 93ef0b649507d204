"""Images that are small on the wire and large in memory."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from functools import cache

from PIL import Image

from tests.hostile.attack import Attack, Attacker
from tests.hostile.attacks.bodies import chat
from tests.hostile.wire import post

FORTY_MEGAPIXELS = (8_000, 5_000)


def uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


@cache
def flat(kind: str) -> str:
    """One colour, as large as is allowed, in a few kilobytes."""
    file = io.BytesIO()
    Image.new("RGB", FORTY_MEGAPIXELS, "red").save(file, kind, **({"lossless": True} if kind == "webp" else {}))
    return uri(kind, file.getvalue())


@cache
def lying_png() -> str:
    """A header that promises 2 billion pixels."""
    header = struct.pack(">IIBBBBB", 65_535, 32_767, 8, 2, 0, 0, 0)
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))  # noqa: E731
    return uri("png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1024)))


def looking_at(*urls: str) -> bytes:
    """A chat body with these pictures."""
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return chat(messages=[{"role": "user", "content": [{"type": "text", "text": "What is this?"}, *parts]}])


async def send_large_pictures(me: Attacker) -> None:
    """Sixteen lossless WebP of 40 megapixels in a request (A8)."""
    await me.flood(*(post(looking_at(*[flat("webp")] * 16), key) for key in me.keys), connections=4)


async def send_bad_pictures(me: Attacker) -> None:
    broken = uri("png", b"\x89PNG\r\n\x1a\n" + b"\0" * 100_000)
    urls = (lying_png(), broken, "data:image/png;base64," + "A" * 2_000_000, flat("png"))
    await me.flood(*(post(looking_at(*[each] * 8), key) for each in urls for key in me.keys), connections=4)


async def send_inner_addresses(me: Attacker) -> None:
    """Pictures at addresses that must not be asked."""
    urls = ("http://127.0.0.1:1/x.png", "http://169.254.169.254/latest", "http://[::1]/x", "file:///etc/passwd")
    await me.flood(*(post(looking_at(each), key) for each in urls for key in me.keys), connections=8)


ATTACKS = (
    Attack("sixteen pictures of 40 megapixels", "A8", send_large_pictures, served=("503 engine_overloaded",)),
    Attack("broken and lying pictures", "A8", send_bad_pictures, served=("503 engine_overloaded",), short=False),
    Attack("pictures at inner addresses", "A8", send_inner_addresses, short=False),
)
