"""Files of clients as pictures of ours: kinds, sizes, transparency, and what is refused."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image

from services.inference.images.picture import Unusable, Written, rewrite
from tests.pictures import picture, read, written

PIXELS = 1_000_000


@pytest.fixture(autouse=True)
def pillow_as_it_was() -> Iterator[None]:
    """rewrite() sets this for its process."""
    before = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = before


def rewritten(file: bytes, side: int = 128) -> Written:
    result = rewrite(file, side, PIXELS)
    image = read(result.jpeg)
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (result.width, result.height))
    return result


def colour(result: Written, x: int = 0, y: int = 0) -> tuple[int, ...]:
    pixel = read(result.jpeg).getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel


def near(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return all(abs(a - b) <= 4 for a, b in zip(first, second, strict=True))


def noise(side: int = 100) -> Image.Image:
    return Image.effect_noise((side, side), 90).convert("RGB")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_each_kind_is_read_by_its_content(kind: str) -> None:
    result = rewritten(written(picture("red", (40, 30)), kind))
    assert (result.width, result.height) == (40, 30)
    assert near(colour(result), (255, 0, 0))


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO", "PPM", "PDF", "TGA"])
def test_other_kinds_are_refused(kind: str) -> None:
    with pytest.raises(Unusable, match="not a PNG, JPEG, WebP or GIF"):
        rewrite(written(noise(32), kind), 128, PIXELS)


@pytest.mark.parametrize(
    "file", [b"", b"x", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF8", b"%PDF-1.7", b"\x00" * 5000]
)
def test_what_is_no_image_is_refused(file: bytes) -> None:
    with pytest.raises(Unusable):
        rewrite(file, 128, PIXELS)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
    ],
)
def test_a_file_that_is_cut_short_is_refused(kind: str, options: dict[str, bool], share: float) -> None:
    file = written(noise(), kind, **options)
    with pytest.raises(Unusable, match="damaged or cut short"):
        rewrite(file[: int(len(file) * share)], 128, PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_a_file_whose_middle_is_overwritten_is_refused_or_read_but_never_crashes(kind: str) -> None:
    file = written(noise(), kind)
    middle = len(file) // 2
    for damage in (b"\x00" * 64, b"\xff" * 64, bytes(range(64))):
        with contextlib.suppress(Unusable):
            rewritten(file[:middle] + damage + file[middle + 64 :])


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    bomb = written(Image.new("1", (5000, 5000)), "PNG")
    assert len(bomb) < 10_000
    with pytest.raises(Unusable, match="more than 1,000,000 pixels"):
        rewrite(bomb, 128, PIXELS)
    giant = _png_header(100_000, 100_000)  # beyond twice the bound Pillow raises its own error
    with pytest.raises(Unusable, match="more than 1,000,000 pixels"):
        rewrite(giant, 128, PIXELS)


def test_a_bomb_in_a_pngs_description_is_refused() -> None:
    text = b"Comment\x00\x00" + zlib.compress(b"x" * 200_000_000)
    file = _png_header(16, 16, (b"zTXt", text))
    with pytest.raises(Unusable, match="damaged"):
        rewrite(file, 128, PIXELS)


def test_a_large_picture_is_made_smaller_in_its_proportions() -> None:
    for kind in ("PNG", "JPEG"):
        result = rewritten(written(picture("red", (800, 400)), kind))
        assert (result.width, result.height) == (128, 64)


def test_a_tiny_picture_is_made_large_enough_for_a_patch() -> None:
    result = rewritten(written(picture("red", (1, 2))))
    assert (result.width, result.height) == (16, 32)


def test_a_strip_without_width_is_refused() -> None:
    with pytest.raises(Unusable, match="64 times"):
        rewrite(written(picture("red", (1000, 2))), 128, PIXELS)
    result = rewritten(written(picture("red", (640, 10))), 128)
    assert result.height == 16


def test_a_photo_is_turned_upright() -> None:
    image = picture("red", (60, 40))
    image.paste((0, 0, 255), (0, 0, 60, 20))  # its upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees clockwise
    result = rewritten(written(image, "JPEG", exif=exif, quality=95, subsampling=0))
    assert (result.width, result.height) == (40, 60)
    assert near(colour(result, 35, 30), (0, 0, 255)), "the upper half is at the right now"
    assert near(colour(result, 5, 30), (255, 0, 0))


def test_nothing_but_the_picture_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010E] = "the owner's address"
    result = rewritten(written(picture(), "JPEG", exif=exif, comment=b"a secret"))
    assert b"address" not in result.jpeg
    assert b"secret" not in result.jpeg


def test_a_broken_exif_does_not_spoil_the_picture() -> None:
    assert rewritten(written(picture(), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\x00\x00\xff\xff" + b"\xff" * 40))


def test_of_an_animation_the_first_frame_is_seen() -> None:
    frames = [picture(each) for each in ("red", "blue", "green")]
    for kind in ("GIF", "WEBP", "PNG"):
        file = written(frames[0], kind, save_all=True, append_images=frames[1:], duration=10)
        assert near(colour(rewritten(file)), (255, 0, 0))


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        (picture((255, 0, 0, 0), mode="RGBA"), (255, 255, 255)),
        (picture((255, 0, 0, 255), mode="RGBA"), (255, 0, 0)),
        (picture((0, 0), mode="LA"), (255, 255, 255)),
        (picture((100,), mode="L"), (100, 100, 100)),
        (picture((1,), mode="1"), (255, 255, 255)),
        (picture((40_000,), mode="I;16"), (156, 156, 156)),
        (picture("red").convert("P"), (255, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_transparency_palettes_and_greys_become_colours_on_white(image: Image.Image, shown: tuple[int, ...]) -> None:
    assert near(colour(rewritten(written(image))), shown)


def test_a_palettes_transparent_colour_is_white() -> None:
    image = picture("red").convert("P")
    index = image.getpixel((0, 0))
    assert near(colour(rewritten(written(image, "PNG", transparency=index))), (255, 255, 255))
    assert near(colour(rewritten(written(image, "GIF", transparency=index))), (255, 255, 255))


def test_four_inks_become_three_colours() -> None:
    assert near(colour(rewritten(written(picture("red").convert("CMYK"), "JPEG"))), (255, 0, 0))


def _png_header(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that claims a size, with these chunks and no pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in ((b"IHDR", head), *chunks, (b"IDAT", b"")))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
