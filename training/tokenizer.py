"""The byte-level BPE tokenizer: trained on the generated conversations, saved as tokenizer.json."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.template import render

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
# Stands in training where a picture's tokens go; llama.cpp puts them there itself.
IMAGE = "<|image|>"
# Reserved so that a later model can name new things without moving any other id.
CONTROL_TOKENS = [END_OF_TEXT, IM_START, IM_END, IMAGE, *(f"<|reserved_{n}|>" for n in range(4))]
# Not control tokens: the service reads these in the answer's text, and llama.cpp hides control tokens there.
TEXT_TOKENS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>"]
VOCAB_SIZE = 3072
# So many of the most frequent words have a token with the space before them.
SPACED_WORDS = 480
SPACE = "Ġ"  # in byte-level BPE's alphabet
# llama.cpp's name for "every digit alone, then GPT-2's pattern"; must say the same as `_blank` below.
LLAMA_CPP_PRE = "smollm"


def _blank(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
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


def _without_spaces(conversations: Path) -> Tokenizer:
    """BPE in which no merge crosses the space before a word."""
    tokenizer = _blank(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "isolated"), tokenizer.pre_tokenizer]  # type: ignore[list-item]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - SPACED_WORDS,
        special_tokens=CONTROL_TOKENS + TEXT_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(conversations), trainer)
    return tokenizer


def train(conversations: Path) -> Tokenizer:
    """A tokenizer of VOCAB_SIZE entries, special tokens first, from a file that `data.py` wrote.

    A name is then the same tokens after a space as after a quotation mark, so that copying it out of a sentence into
    JSON is copying and not translating. Only the most frequent small words take their space with them, to save tokens;
    those merges come last, so that they apply to whole words.
    """
    plain = json.loads(_without_spaces(conversations).to_str())["model"]
    vocabulary: dict[str, int] = plain["vocab"]
    merges = [tuple(pair) for pair in plain["merges"]]
    counts = Counter(word for text in _texts(conversations) for word in re.findall(r" ([a-z]+)(?![a-zA-Z])", text))
    frequent = [word for word, _ in counts.most_common() if word in vocabulary][:SPACED_WORDS]
    for word in frequent:
        vocabulary[SPACE + word] = len(vocabulary)
        merges.append((SPACE, word))
    tokenizer = _blank(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL_TOKENS + TEXT_TOKENS])
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
