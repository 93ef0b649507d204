"""The byte-level BPE tokenizer: trained on the generated conversations, saved as tokenizer.json."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from training.template import render

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
# Reserved so that a later model can name new things (images, for one) without moving any other id.
CONTROL_TOKENS = [END_OF_TEXT, IM_START, IM_END, *(f"<|reserved_{n}|>" for n in range(5))]
# Not control tokens: the service reads these in the answer's text, and llama.cpp hides control tokens there.
TEXT_TOKENS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>"]
VOCAB_SIZE = 3072
# llama.cpp's name for "every digit alone, then GPT-2's pattern"; must say the same as `_blank` below.
LLAMA_CPP_PRE = "smollm"


def _blank() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _texts(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            conversation = json.loads(line)
            yield render(conversation["messages"], conversation.get("tools"))


def train(conversations: Path) -> Tokenizer:
    """A tokenizer of VOCAB_SIZE entries, special tokens first, from a file that `data.py` wrote."""
    tokenizer = _blank()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=CONTROL_TOKENS + TEXT_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(conversations), trainer)
    return tokenizer


def load(path: Path) -> Tokenizer:
    """Read a tokenizer.json."""
    return Tokenizer.from_file(str(path))


def main() -> None:
    """Train on build/conversations.jsonl and write build/tokenizer.json."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--build", type=Path, default=Path("training/build"))
    build: Path = parser.parse_args().build
    tokenizer = train(build / "conversations.jsonl")
    tokenizer.save(str(build / "tokenizer.json"))
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
