"""Export: a checkpoint and its tokenizer become a GGUF file that llama.cpp loads, the eye another beside it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import torch
from torch import Tensor

from training import tokenizer as bpe
from training import train
from training.model import Model, count_parameters
from training.template import TEMPLATE_PATH
from training.vision import Eye
from training.vision import load as load_eye

FOLDER = Path("services/inference/default_model")
MODEL, PROJECTOR = "muh-small.gguf", "muh-small-projector.gguf"
# What a small model needs to stay on its path; llama.cpp uses them where a request names none.
TEMPERATURE, TOP_P, MIN_P = 0.3, 0.95, 0.05
# Our names of a block's parts, and llama.cpp's.
BLOCK_TENSORS = {
    "attention_norm": "attn_norm",
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.out": "attn_output",
    "feed_forward_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def tensors(model: Model) -> dict[str, Tensor]:
    """Every tensor by llama.cpp's name. No output matrix: llama.cpp then uses the embedding, as we do."""
    named = {"token_embd.weight": model.embedding.weight, "output_norm.weight": model.norm.weight}
    for number, block in enumerate(model.blocks):
        for ours, theirs in BLOCK_TENSORS.items():
            named[f"blk.{number}.{theirs}.weight"] = block.get_parameter(f"{ours}.weight")
    return named


def _token_type(token: str) -> gguf.TokenType:
    if token in bpe.CONTROL_TOKENS:
        return gguf.TokenType.CONTROL
    if token in bpe.TEXT_TOKENS:
        return gguf.TokenType.USER_DEFINED
    return gguf.TokenType.NORMAL


def add_tokenizer(writer: gguf.GGUFWriter, path: Path) -> None:
    """Tokens, types, merges and the chat template. <|im_end|> ends an answer, so it is the EOS token."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(bpe.LLAMA_CPP_PRE)
    writer.add_token_list(tokens)
    writer.add_token_types([_token_type(token) for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(vocabulary[bpe.END_OF_TEXT])
    writer.add_eos_token_id(vocabulary[bpe.IM_END])
    writer.add_pad_token_id(vocabulary[bpe.END_OF_TEXT])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(TEMPLATE_PATH.read_text(encoding="utf-8"))


def add_description(writer: gguf.GGUFWriter, model: Model) -> None:
    """Name, licence, sampling defaults and the sizes that the `llama` architecture asks for."""
    c = model.config
    writer.add_name("muh-small")
    writer.add_description(f"A very small chat model of {count_parameters(model):,} parameters, made by MUHGPT.")
    writer.add_license("Apache-2.0")
    writer.add_sampling_temp(TEMPERATURE)
    writer.add_sampling_top_p(TOP_P)
    writer.add_sampling_min_p(MIN_P)
    writer.add_context_length(c.context)
    writer.add_embedding_length(c.width)
    writer.add_block_count(c.layers)
    writer.add_feed_forward_length(c.feed_forward)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_rope_dimension_count(c.head_width)
    writer.add_rope_freq_base(c.rope_base)
    writer.add_layer_norm_rms_eps(c.norm_eps)
    writer.add_vocab_size(c.vocab)


def add_tensors(writer: gguf.GGUFWriter, model: Model, matrices: gguf.GGMLQuantizationType) -> None:
    """Matrices in the given format, norms in f32."""
    for name, tensor in tensors(model).items():
        values = tensor.detach().float().numpy()
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, matrices), raw_dtype=matrices)


def export(checkpoint: Path, tokenizer: Path, output: Path, *, full_precision: bool = False) -> None:
    """Write the GGUF: Q8_0 as shipped, or f32 to compare with torch token by token."""
    model, _ = train.load(checkpoint)
    writer = gguf.GGUFWriter(output, "llama")
    add_description(writer, model)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if full_precision else gguf.LlamaFileType.MOSTLY_Q8_0)
    add_tokenizer(writer, tokenizer)
    kind = gguf.GGMLQuantizationType.F32 if full_precision else gguf.GGMLQuantizationType.Q8_0
    add_tensors(writer, model, kind)
    _write(writer, output)


def _write(writer: gguf.GGUFWriter, output: Path) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{output}: {output.stat().st_size:,} bytes")


def eye_tensors(eye: Eye, model: Model) -> dict[str, Tensor]:
    """Every tensor of the projector file by llama.cpp's name.

    llama.cpp's graph leaves out the last block, as LLaVA did, so one of zeros follows ours.
    """
    named = {"v.patch_embd.weight": eye.patch_embd.weight, "v.position_embd.weight": eye.position_embd}
    named |= {"v.post_ln.weight": eye.post_ln.weight, "v.post_ln.bias": eye.post_ln.bias}
    for number in range(len(eye.blocks) + 1):
        block = eye.blocks[min(number, len(eye.blocks) - 1)]
        for name, value in block.named_parameters():
            named[f"v.blk.{number}.{name}"] = value if number < len(eye.blocks) else torch.zeros_like(value)
    for number, layer in ((0, model.projector.first), (2, model.projector.second)):
        named |= {f"mm.{number}.weight": layer.weight, f"mm.{number}.bias": layer.bias}
    return named


def export_eye(eye: Eye, checkpoint: Path, output: Path) -> None:
    """Write the projector file: what turns pictures into the model's own language. In f16 where llama.cpp takes it."""
    model, _ = train.load(checkpoint)
    c = eye.config
    writer = gguf.GGUFWriter(output, "clip")
    writer.add_name("muh-small projector")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    sizes = {"embedding_length": c.width, "feed_forward_length": c.feed_forward, "block_count": c.layers + 1}
    sizes |= {"image_size": c.side, "patch_size": c.patch, "attention.head_count": c.heads}
    sizes |= {"projection_dim": model.config.width}
    for name, value in sizes.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", c.norm_eps)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    for name, tensor in eye_tensors(eye, model).items():
        values = tensor.detach().float().numpy()
        matrix = values.ndim == 2 and "position" not in name
        writer.add_tensor(name, values.astype("float16") if matrix or values.ndim == 4 else values)
    _write(writer, output)


def main() -> None:
    """Export build/model.pt and build/eye.pt to the default model's place."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--build", type=Path, default=Path("training/build"))
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the two files")
    parser.add_argument("--f32", action="store_true", help="full precision, for comparing with torch")
    arguments = parser.parse_args()
    build, folder = arguments.build, arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    export(build / "model.pt", build / "tokenizer.json", folder / MODEL, full_precision=arguments.f32)
    export_eye(load_eye(build / "eye.pt"), build / "model.pt", folder / PROJECTOR)


if __name__ == "__main__":
    main()
