"""The eye: a small vision transformer, taught to tell colours and shapes before the language model sees through it."""

from __future__ import annotations

import argparse
import io
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW

from training.pictures import COLOURS, NOTHING, SHAPES, draw

SEED = 20260301
# What llama.cpp puts beside a picture that is not square (its LLaVA projectors).
PADDING = (122, 116, 104)
_COLOUR_NAMES = [*COLOURS, ""]
_SHAPE_NAMES = [*SHAPES, NOTHING]


@dataclass(frozen=True)
class EyeConfig:
    """Sizes. A picture becomes `side`² pixels and (`side` / `patch`)² tokens."""

    side: int = 64
    patch: int = 8
    width: int = 96
    layers: int = 3
    heads: int = 3
    feed_forward: int = 256
    norm_eps: float = 1e-5

    @property
    def tokens(self) -> int:
        """Tokens of one picture."""
        return (self.side // self.patch) ** 2


class EyeBlock(nn.Module):
    """One layer as llama.cpp's `clip` graph computes it: norms first, biases everywhere."""

    def __init__(self, config: EyeConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.ln1 = nn.LayerNorm(config.width, config.norm_eps)
        self.attn_q = nn.Linear(config.width, config.width)
        self.attn_k = nn.Linear(config.width, config.width)
        self.attn_v = nn.Linear(config.width, config.width)
        self.attn_out = nn.Linear(config.width, config.width)
        self.ln2 = nn.LayerNorm(config.width, config.norm_eps)
        self.ffn_up = nn.Linear(config.width, config.feed_forward)
        self.ffn_down = nn.Linear(config.feed_forward, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """[pictures, tokens, width] to the same shape."""
        y = self.ln1(x)
        q, k, v = (self._split(layer(y)) for layer in (self.attn_q, self.attn_k, self.attn_v))
        x = x + self.attn_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.ffn_down(F.gelu(self.ffn_up(self.ln2(x)), approximate="tanh"))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Eye(nn.Module):
    """Pictures [n, 3, side, side] with values from -1 to 1 to features [n, tokens, width]."""

    def __init__(self, config: EyeConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embd = nn.Conv2d(3, config.width, config.patch, config.patch, bias=False)
        self.position_embd = nn.Parameter(torch.randn(config.tokens, config.width) * 0.02)
        self.blocks = nn.ModuleList(EyeBlock(config) for _ in range(config.layers))
        self.post_ln = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        """Features of every patch."""
        x = self.patch_embd(pixels).flatten(2).transpose(1, 2) + self.position_embd
        for block in self.blocks:
            x = block(x)
        return self.post_ln(x)


def pixels(rng: random.Random, image: Image.Image, side: int, *, jpeg: bool = True) -> Tensor:
    """The picture as the eye sees it, [3, side, side] from -1 to 1.

    llama.cpp pads to a square and resizes by reading single pixels; which filter it uses has changed between
    versions, so any of them may be met here. The service hands it JPEG files; `jpeg`: half of the
    pictures are such.
    """
    if rng.random() < 0.5 and jpeg:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=92, subsampling=0)
        image = Image.open(file)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    kinds = [Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX]
    image = image.resize(size, rng.choice(kinds))
    square = Image.new("RGB", (side, side), PADDING)
    square.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    flat = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
    return flat.view(side, side, 3).permute(2, 0, 1).float() / 127.5 - 1


class _Pupil(nn.Module):
    """The eye with two judges, who are needed while it learns and thrown away after."""

    def __init__(self, config: EyeConfig) -> None:
        super().__init__()
        self.eye = Eye(config)
        self.colour = nn.Linear(config.width, len(_COLOUR_NAMES))
        self.shape = nn.Linear(config.width, len(_SHAPE_NAMES))

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        whole = self.eye(seen).mean(1)
        return self.colour(whole), self.shape(whole)


def _batch(rng: random.Random, count: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    drawn = [draw(rng) for _ in range(count)]
    colours = torch.tensor([_COLOUR_NAMES.index(p.colour) for p in drawn])
    shapes = torch.tensor([_SHAPE_NAMES.index(p.shape) for p in drawn])
    return torch.stack([pixels(rng, p.image, side) for p in drawn]), colours, shapes


def _right(pupil: _Pupil, rng: random.Random, count: int = 1000) -> float:
    """Share of new pictures of which both colour and shape are told right."""
    seen, colours, shapes = _batch(rng, count, pupil.eye.config.side)
    with torch.no_grad():
        by_colour, by_shape = pupil(seen)
    return float(((by_colour.argmax(-1) == colours) & (by_shape.argmax(-1) == shapes)).float().mean())


def train(build: Path, minutes: float, rows: int = 64) -> None:
    """Train for so long and write build/eye.pt."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    rng = random.Random(SEED)
    pupil = _Pupil(EyeConfig())
    optimizer = AdamW(pupil.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    started, step, done = time.monotonic(), 0, 0.0
    while done < 1:
        done = (time.monotonic() - started) / (60 * minutes)
        optimizer.param_groups[0]["lr"] = 1.5e-3 * min(1.0, (step + 1) / 100, max(0.01, 2 * (1 - done)))
        seen, colours, shapes = _batch(rng, rows, pupil.eye.config.side)
        by_colour, by_shape = pupil(seen)
        loss = F.cross_entropy(by_colour, colours) + F.cross_entropy(by_shape, shapes)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 100 == 0:
            print(f"{step:5d}  loss {loss.item():.3f}  {step * rows} pictures  {done:.0%}", flush=True)
    print(f"right: {_right(pupil, random.Random(SEED + 1)):.1%} of new pictures")
    torch.save({"config": asdict(pupil.eye.config), "weights": pupil.eye.state_dict()}, build / "eye.pt")


def load(path: Path) -> Eye:
    """Read the eye that `train` wrote."""
    checkpoint = torch.load(path, weights_only=True)
    eye = Eye(EyeConfig(**checkpoint["config"]))
    eye.load_state_dict(checkpoint["weights"])
    return eye.eval()


def main() -> None:
    """Train the eye."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--build", type=Path, default=Path("training/build"))
    parser.add_argument("--minutes", type=float, default=30)
    arguments = parser.parse_args()
    arguments.build.mkdir(parents=True, exist_ok=True)
    train(arguments.build, arguments.minutes)


if __name__ == "__main__":
    main()
