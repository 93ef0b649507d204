"""Pictures for training and evaluation: one shape of one colour on a background, and some that show nothing known."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]
Colour = tuple[int, int, int]

# The middle of each colour, and how far a channel may be from it. Chosen so that no two can be confused.
COLOURS: dict[str, Colour] = {
    "red": (222, 32, 36),
    "orange": (248, 142, 24),
    "yellow": (246, 224, 44),
    "green": (40, 160, 62),
    "blue": (38, 84, 220),
    "purple": (132, 46, 176),
    "pink": (248, 138, 188),
    "brown": (122, 72, 34),
    "black": (16, 16, 18),
    "white": (250, 250, 250),
    "grey": (128, 128, 130),
}
_SPREAD = 22
SHAPES = ("circle", "square", "triangle", "rectangle", "star", "diamond", "heart", "hexagon", "cross", "ring")
NOTHING = "nothing"  # a picture without a shape: noise, stripes, gradients
_LEAST_CONTRAST = 110  # summed over the channels, between a shape and what is behind it


@dataclass(frozen=True)
class Picture:
    """An image of any size with what it shows; `shape` is NOTHING when it shows no shape."""

    image: Image.Image
    colour: str
    shape: str


def draw(rng: random.Random) -> Picture:
    """A picture; the same state of `rng` gives the same picture. One in twelve shows nothing known."""
    width, height = _size(rng)
    if rng.random() < 1 / 12:
        return Picture(_nothing(rng, width, height), "", NOTHING)
    colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
    fill = _shade(rng, COLOURS[colour])
    image = _background(rng, width, height, fill)
    _put(rng, image, shape, fill)
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.009 * min(width, height))))
    return Picture(image, colour, shape)


def _size(rng: random.Random) -> tuple[int, int]:
    side = rng.choice([64, 64, 96, 128, 160, 200, 256])
    if rng.random() < 0.7:
        return side, side
    return (
        (side, max(48, round(side * rng.uniform(0.55, 1))))
        if rng.random() < 0.5
        else (
            max(48, round(side * rng.uniform(0.55, 1))),
            side,
        )
    )


def _shade(rng: random.Random, middle: Colour) -> Colour:
    if rng.random() < 0.3:
        return _pure(middle)
    spread = _SPREAD if max(middle) - min(middle) > 40 else 8  # greys must stay apart
    together = rng.uniform(-spread, spread) / 2
    red, green, blue = (round(min(255, max(0, c + together + rng.uniform(-spread, spread) / 2))) for c in middle)
    return red, green, blue


def _pure(middle: Colour) -> Colour:
    """The colour as people write it in code, where there is one: full red, not a photograph's."""
    codes = {COLOURS["red"]: (255, 0, 0), COLOURS["green"]: (0, 128, 0), COLOURS["blue"]: (0, 0, 255)}
    codes |= {COLOURS["yellow"]: (255, 255, 0), COLOURS["black"]: (0, 0, 0), COLOURS["white"]: (255, 255, 255)}
    codes |= {COLOURS["orange"]: (255, 165, 0), COLOURS["purple"]: (128, 0, 128), COLOURS["grey"]: (128, 128, 128)}
    codes |= {COLOURS["pink"]: (255, 150, 200), COLOURS["brown"]: (139, 69, 19)}
    return codes[middle]


def _background(rng: random.Random, width: int, height: int, shape_fill: Colour) -> Image.Image:
    """White, black, or any colour that the shape stands out from; sometimes a gradient or a grain."""
    while True:
        pick = rng.random()
        if pick < 0.45:
            colour: Colour = (255, 255, 255)
        elif pick < 0.55:
            colour = (0, 0, 0)
        else:
            colour = (rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255))
        if sum(abs(a - b) for a, b in zip(colour, shape_fill, strict=True)) >= _LEAST_CONTRAST:
            break
    image = Image.new("RGB", (width, height), colour)
    if rng.random() < 0.15:
        image = Image.blend(image, _noise(rng, width, height), rng.uniform(0.03, 0.12))
    return image


def _noise(rng: random.Random, width: int, height: int, cells: int = 16) -> Image.Image:
    small = Image.frombytes("RGB", (cells, cells), rng.randbytes(3 * cells * cells))
    return small.resize((width, height), rng.choice([Image.Resampling.NEAREST, Image.Resampling.BICUBIC]))


def _nothing(rng: random.Random, width: int, height: int) -> Image.Image:
    kind = rng.random()
    if kind < 0.5:
        return _noise(rng, width, height, rng.choice([3, 5, 8, 16, 32]))
    first, second = (tuple(rng.randint(0, 255) for _ in range(3)) for _ in range(2))
    image = Image.new("RGB", (width, height), first)
    if kind < 0.7:
        return image
    lines = ImageDraw.Draw(image)
    step = rng.randint(4, 24)
    for at in range(0, 2 * max(width, height), 2 * step):
        lines.line([(at, 0), (at if kind < 0.85 else 0, height if kind < 0.85 else at)], fill=second, width=step)
    return image


def _put(rng: random.Random, image: Image.Image, shape: str, fill: Colour) -> None:
    """Draws the shape somewhere, a quarter to nearly all of the picture's size, at most a little turned."""
    width, height = image.size
    radius = rng.uniform(0.24, 0.46) * min(width, height)
    reach = radius * 1.02
    centre = (rng.uniform(reach, width - reach), rng.uniform(reach, height - reach))
    if rng.random() < 0.3:
        centre = (width / 2, height / 2)
    pen = ImageDraw.Draw(image)
    if shape in ("circle", "ring"):
        box = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
        if shape == "circle":
            pen.ellipse(box, fill=fill)
        else:
            pen.ellipse(box, outline=fill, width=max(3, round(radius * rng.uniform(0.22, 0.4))))
        return
    turn = rng.uniform(-0.2, 0.2) if rng.random() < 0.6 else 0.0
    pen.polygon([_placed(point, centre, radius, turn) for point in _outline(rng, shape)], fill=fill)


def _placed(point: Point, centre: Point, radius: float, turn: float) -> Point:
    x, y = point
    across, down = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    return centre[0] + radius * across, centre[1] + radius * down


def _outline(rng: random.Random, shape: str) -> list[Point]:
    """Corners in the unit circle; y points down."""
    if shape == "square":
        return [(-0.72, -0.72), (0.72, -0.72), (0.72, 0.72), (-0.72, 0.72)]
    if shape == "rectangle":
        thin = rng.uniform(0.28, 0.48)
        corners = [(-0.9, -0.9 * thin), (0.9, -0.9 * thin), (0.9, 0.9 * thin), (-0.9, 0.9 * thin)]
        return corners if rng.random() < 0.6 else [(y, x) for x, y in corners]
    if shape == "triangle":
        return _ring_of(3, -math.pi / 2)
    if shape == "diamond":
        narrow = rng.uniform(0.55, 0.8)
        return [(0, -1), (narrow, 0), (0, 1), (-narrow, 0)]
    if shape == "hexagon":
        return _ring_of(6, rng.choice([0.0, math.pi / 6]))
    if shape == "star":
        outer, inner = _ring_of(5, -math.pi / 2), _ring_of(5, -math.pi / 2 + math.pi / 5, rng.uniform(0.38, 0.48))
        return [corner for pair in zip(outer, inner, strict=True) for corner in pair]
    if shape == "cross":
        arm = rng.uniform(0.22, 0.34)
        return [
            (-arm, -0.95), (arm, -0.95), (arm, -arm), (0.95, -arm), (0.95, arm), (arm, arm),
            (arm, 0.95), (-arm, 0.95), (-arm, arm), (-0.95, arm), (-0.95, -arm), (-arm, -arm),
        ]  # fmt: skip
    return _heart()


def _ring_of(corners: int, start: float, radius: float = 1.0) -> list[Point]:
    turns = (start + 2 * math.pi * n / corners for n in range(corners))
    return [(radius * math.cos(turn), radius * math.sin(turn)) for turn in turns]


def _heart() -> list[Point]:
    points = []
    for n in range(40):
        t = 2 * math.pi * n / 40
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 17, -y / 17))
    return points
