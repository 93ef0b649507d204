"""A client's image file as a JPEG file of ours: decoded, turned upright, on white, and no larger than asked.

Runs in a process of its own (worker.py): Pillow's decoders are C, and files are made to hurt them.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
LEAST_SIDE = 16  # pixels: smaller pictures are made larger, since projectors divide them into patches
# Longer strips would come out thinner than a patch, and llama.cpp's own resizing multiplies with the ratio.
MOST_RATIO = 64
QUALITY = 92
STRIP = 256  # rows that are converted and reduced at a time
RESIZABLE = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
WHITE = (255, 255, 255)
ORIENTATION = 0x0112  # of EXIF: how the camera was held
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise for files that are not as they should be.
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, struct.error)


class Unusable(Exception):
    """The file cannot be used; the text ends a sentence that began with the image's name."""


@dataclass(frozen=True, slots=True)
class Written:
    """A JPEG file and its size in pixels."""

    jpeg: bytes
    width: int
    height: int


def rewrite(file: bytes, side: int, most_pixels: int) -> Written:
    """The picture with its longer side at most `side` pixels; of an animation the first frame. Raises Unusable.

    The size is taken from the header and checked before anything is decoded: a PNG of a few kilobytes can hold
    gigabytes of pixels. What kind of file it is the content decides, whatever name or type came with it.
    """
    Image.MAX_IMAGE_PIXELS = most_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would go to the log
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _rewrite(file, side, most_pixels)
    except UnidentifiedImageError:
        raise Unusable("is not a PNG, JPEG, WebP or GIF image") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unusable(f"has more than {most_pixels:,} pixels") from None
    except MemoryError:
        raise Unusable("takes more memory to decode than an image may") from None
    except DAMAGE:
        raise Unusable("is damaged or cut short") from None


def _rewrite(file: bytes, side: int, most_pixels: int) -> Written:
    with Image.open(io.BytesIO(file), formats=FORMATS) as image:
        _check_size(image.width, image.height, most_pixels)
        image.draft("RGB", (side, side))  # lets a JPEG be decoded at a fraction of its size
        image.load()
        turn = TURNS.get(_orientation(image))
        return _written(image, side, turn)


def _check_size(width: int, height: int, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise Unusable(f"has more than {most_pixels:,} pixels")
    if not 1 / MOST_RATIO <= width / height <= MOST_RATIO:
        raise Unusable(f"is more than {MOST_RATIO} times as long as it is wide")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except DAMAGE:  # a broken description does not spoil the picture
        return 1


def _written(image: Image.Image, side: int, turn: Image.Transpose | None) -> Written:
    image = _on_white(_sized(image, side))
    if turn is not None:
        image = image.transpose(turn)
    image.info.clear()  # comments, places, profiles
    output = io.BytesIO()
    image.save(output, "JPEG", quality=QUALITY, subsampling=0)
    return Written(output.getvalue(), image.width, image.height)


def _sized(image: Image.Image, side: int) -> Image.Image:
    image = _smaller(image, side)
    longer, shorter = max(image.size), min(image.size)
    factor = min(1.0, side / longer)
    if shorter * factor < LEAST_SIDE:
        factor = LEAST_SIDE / shorter
    if factor == 1:
        return image
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _smaller(image: Image.Image, side: int) -> Image.Image:
    """In a mode that can be resized, and at least twice as large as asked where it was larger.

    Strip by strip: converting or reducing it whole would take the memory of another whole picture or two.
    """
    times = max(1, max(image.size) // (2 * side))
    if times == 1 and image.mode in RESIZABLE:
        return image
    height = STRIP // times * times or times
    strips = [_strip(image, top, min(top + height, image.height), times) for top in range(0, image.height, height)]
    whole = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    top = 0
    for strip in strips:
        whole.paste(strip, (0, top))
        top += strip.height
    return whole


def _strip(image: Image.Image, top: int, bottom: int, times: int) -> Image.Image:
    strip = image.crop((0, top, image.width, bottom))
    strip.info = {key: value for key, value in image.info.items() if key == "transparency"}
    if strip.mode not in RESIZABLE or "transparency" in strip.info:
        strip = _plain(strip)
    return strip.reduce(times) if times > 1 else strip


def _plain(image: Image.Image) -> Image.Image:
    """Palettes, single bits and 16-bit greys in a mode that can be resized without loss of sense."""
    if image.mode.startswith("I"):
        return image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("RGBA")


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    page = Image.new("RGB", layer.size, WHITE)
    page.paste(layer, mask=layer.getchannel("A"))
    return page
