"""Image files for tests, and a random projector that gives the shipped model eyes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from PIL import Image

from services.inference.default_model import FILE as DEFAULT_FILE

IMAGE_TOKENS = 16  # of the projector's every picture: 64 pixels in patches of 16


def picture(colour: str | tuple[int, ...] = "red", size: tuple[int, int] = (64, 64), mode: str = "RGB") -> Image.Image:
    """A plain picture."""
    return Image.new(mode, size, colour)


def written(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """As a file of this kind."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def data_uri(file: bytes, kind: str = "image/png") -> str:
    """As clients send files."""
    return f"data:{kind};base64,{base64.b64encode(file).decode()}"


def read(file: bytes) -> Image.Image:
    """The picture in a file."""
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


def write_projector(path: Path, *, width: int | None = None) -> Path:
    """A projector of random weights for the model that comes with the project (docs/engine.md, "Making a model file").

    Its output is as wide as the model's embeddings, unless told otherwise.
    """
    width, inner, side, patch, blocks = width or _width_of(DEFAULT_FILE), 32, 64, 16, 3
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    sizes = {"embedding_length": inner, "feed_forward_length": 2 * inner, "block_count": blocks}
    sizes |= {"projection_dim": width, "image_size": side, "patch_size": patch, "attention.head_count": 2}
    for name, value in sizes.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    for name, array in _tensors(np.random.default_rng(7), width, inner, side, patch, blocks).items():
        writer.add_tensor(name, array.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _width_of(model: Path) -> int:
    return int(gguf.GGUFReader(model).fields["llama.embedding_length"].parts[-1][0])


def _tensors(
    random: np.random.Generator, width: int, inner: int, side: int, patch: int, blocks: int
) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {
        "v.patch_embd.weight": 0.05 * random.standard_normal((inner, 3, patch, patch)),
        "v.position_embd.weight": 0.02 * random.standard_normal(((side // patch) ** 2, inner)),
    }

    def linear(name: str, outputs: int, inputs: int) -> None:
        tensors[f"{name}.weight"] = random.standard_normal((outputs, inputs)) * inputs**-0.5
        tensors[f"{name}.bias"] = 0.01 * random.standard_normal(outputs)

    norms = ["v.post_ln", *(f"v.blk.{block}.{norm}" for block in range(blocks) for norm in ("ln1", "ln2"))]
    for norm in norms:
        tensors[f"{norm}.weight"], tensors[f"{norm}.bias"] = np.ones(inner), np.zeros(inner)
    for block in range(blocks):
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            linear(f"v.blk.{block}.{part}", inner, inner)
        linear(f"v.blk.{block}.ffn_up", 2 * inner, inner)
        linear(f"v.blk.{block}.ffn_down", inner, 2 * inner)
    linear("mm.0", width, inner)
    linear("mm.2", width, width)
    tensors["mm.2.weight"] *= 0.3  # about as large as the model's own embeddings
    return tensors
