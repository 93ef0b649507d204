"""Batches: tokenized conversations of like length, padded on the right, a weight for each target token."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.template import render
from training.tokenizer import END_OF_TEXT, IM_END, IM_START

# The answers are what must be learned; a little weight on the rest teaches words and copying sooner.
PROMPT_WEIGHT = 0.1


@dataclass(frozen=True)
class Example:
    """One conversation: token ids and the weight of predicting each of them."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Batch:
    """Inputs [rows, time], targets [rows, time] and weights [rows, time]; padding weighs 0."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor


def _weigh(ids: list[int], opening: list[int], end: int) -> list[float]:
    """1 for what the assistant says, its end token included; PROMPT_WEIGHT elsewhere."""
    weights = [PROMPT_WEIGHT] * len(ids)
    speaking = False
    for i, token in enumerate(ids):
        if speaking:
            weights[i] = 1.0
            speaking = token != end
        elif ids[i + 1 - len(opening) : i + 1] == opening:
            speaking = True
    return weights


def load_examples(path: Path, tokenizer: Tokenizer, context: int) -> list[Example]:
    """Read conversations that `data.py` wrote; longer ones are cut at `context` + 1 tokens."""
    with path.open(encoding="utf-8") as lines:
        conversations = [json.loads(line) for line in lines]
    texts = [render(c["messages"], c.get("tools")) for c in conversations]
    opening = tokenizer.encode(f"{IM_START}assistant\n").ids
    end = tokenizer.token_to_id(IM_END)
    examples = []
    for encoded in tokenizer.encode_batch(texts):
        ids = encoded.ids[: context + 1]
        examples.append(Example(ids, _weigh(ids, opening, end)))
    return examples


def _collate(examples: list[Example], pad: int) -> Batch:
    time = max(len(e.ids) for e in examples)
    ids = torch.full((len(examples), time), pad)
    weights = torch.zeros(len(examples), time)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        weights[row, : len(example.ids)] = torch.tensor(example.weights)
    return Batch(ids[:, :-1], ids[:, 1:], weights[:, 1:])


def _group(examples: list[Example], tokens: int) -> list[list[Example]]:
    """Split examples sorted by length into groups of at most `tokens` padded tokens."""
    groups: list[list[Example]] = [[]]
    for example in examples:
        if groups[-1] and (len(groups[-1]) + 1) * len(example.ids) > tokens:
            groups.append([])
        groups[-1].append(example)
    return groups


def batches(examples: list[Example], tokenizer: Tokenizer, tokens: int, seed: int) -> Iterator[Batch]:
    """Endless batches of about `tokens` tokens, in a new random order each time round."""
    rng = random.Random(seed)
    pad = tokenizer.token_to_id(END_OF_TEXT)
    while True:
        # Noise in the sort key mixes neighbours, so that a batch is not all one kind of conversation.
        order = sorted(examples, key=lambda e: len(e.ids) * rng.uniform(0.8, 1.0))
        groups = _group(order, tokens)
        rng.shuffle(groups)
        yield from (_collate(group, pad) for group in groups)
