"""Batches: tokenized conversations of like length, padded on the right, and which of their tokens are learned."""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.pictures import draw
from training.template import render
from training.tokenizer import END_OF_TEXT, IM_END, IM_START, IMAGE
from training.vision import pixels

# The answers are what must be learned; one in so many of the other tokens teaches words and copying sooner.
PROMPT_SHARE = 0.1
# Share of values that begin in several tokens. A grammar takes `":` of a model that expected a number, and then asks
# for a string or a list: the quotation mark, which the usual `":"` brings along, must then come alone.
STUMBLES = 0.12
# What became of a token: read, said by the assistant, or brought about by a grammar and never learned.
HEARD, SAID, FORCED = 0, 1, 2


@dataclass(frozen=True)
class Example:
    """One conversation: token ids, each one's HEARD, SAID or FORCED, and the seed of its picture, if it has one."""

    ids: array[int]
    said: bytes  # a byte a token; millions of Python's own numbers would take gigabytes
    picture: int | None = None


@dataclass(frozen=True)
class Batch:
    """Inputs and targets [rows, time], what of the targets is learned [rows, time], and pictures [n, 3, side, side] in
    the order of their tokens."""

    inputs: Tensor
    targets: Tensor
    learned: Tensor
    pictures: Tensor | None = None


def _said(ids: list[int], opening: list[int], end: int, *, forced: bool) -> list[int]:
    """What the assistant says, its end tokens included; with `forced` a grammar begins its last turn."""
    said = [HEARD] * len(ids)
    speaking, begun = False, 0
    for i, token in enumerate(ids):
        if speaking:
            said[i] = SAID
            speaking = token != end
        elif ids[i + 1 - len(opening) : i + 1] == opening:
            speaking, begun = True, i + 1
    # One token is enough: it decides between prose and JSON, and what follows is JSON for all to see.
    if forced and begun < len(ids):
        said[begun] = FORCED
    return said


def _value_beginnings(tokenizer: Tokenizer) -> dict[int, list[list[int]]]:
    """Tokens like `":["` and the longer rows that say the same: `":` and `["`, or `":`, `[` and `"`."""
    vocabulary = tokenizer.get_vocab()
    colon = '":'
    rows: dict[int, list[list[int]]] = {}
    for text, token in vocabulary.items():
        rest = text.removeprefix(colon)
        ways = [[rest], list(rest)] if len(rest) > 1 else [[rest]]
        if text.startswith(colon) and rest and all(part in vocabulary for way in ways for part in way):
            rows[token] = [[vocabulary[part] for part in [colon, *way]] for way in ways]
    return rows


def _stumbling(
    ids: list[int], said: list[int], beginnings: dict[int, list[list[int]]], rng: random.Random
) -> tuple[list[int], list[int]]:
    """The same text with some values' beginnings in several tokens, of which only the last is learned."""
    longer: list[tuple[int, int]] = []
    for token, became in zip(ids, said, strict=True):
        if became == SAID and token in beginnings and rng.random() < STUMBLES:
            *before, last = rng.choice(beginnings[token])
            longer += [*((one, FORCED) for one in before), (last, SAID)]
        else:
            longer.append((token, became))
    return [token for token, _ in longer], [became for _, became in longer]


def load_examples(path: Path, tokenizer: Tokenizer, context: int, picture_tokens: int) -> list[Example]:
    """Read conversations that `data.py` wrote; longer ones are cut at `context` + 1 tokens."""
    with path.open(encoding="utf-8") as lines:
        conversations = [json.loads(line) for line in lines]
    texts = [render(c["messages"], c.get("tools")) for c in conversations]
    opening = tokenizer.encode(f"{IM_START}assistant\n").ids
    end, image = tokenizer.token_to_id(IM_END), tokenizer.token_to_id(IMAGE)
    beginnings, rng = _value_beginnings(tokenizer), random.Random(len(texts))
    examples = []
    for conversation, encoded in zip(conversations, tokenizer.encode_batch(texts), strict=True):
        ids = [i for token in encoded.ids for i in ([image] * picture_tokens if token == image else [token])]
        said = _said(ids, opening, end, forced=conversation.get("forced", False))
        ids, said = _stumbling(ids, said, beginnings, rng)
        longest = context + 1
        examples.append(Example(array("H", ids[:longest]), bytes(said[:longest]), conversation.get("picture")))
    return examples


def _pictures(examples: list[Example], side: int) -> Tensor | None:
    seeds = [e.picture for e in examples if e.picture is not None]
    if not seeds:
        return None
    return torch.stack([pixels(random.Random(seed + 1), draw(random.Random(seed)).image, side) for seed in seeds])


def _collate(examples: list[Example], pad: int, rng: random.Random, side: int) -> Batch:
    time = max(len(e.ids) for e in examples)
    ids = torch.full((len(examples), time), pad)
    learned = torch.zeros(len(examples), time, dtype=torch.bool)
    for row, example in enumerate(examples):
        size = len(example.ids)
        ids[row, :size] = torch.tensor(example.ids)
        # What stands beside a picture says nothing of it, and its own places hold no words.
        share = PROMPT_SHARE if example.picture is None else 0.0
        learned[row, :size] = torch.tensor(
            [said == SAID or (said == HEARD and rng.random() < share) for said in example.said]
        )
    return Batch(ids[:, :-1], ids[:, 1:], learned[:, 1:], _pictures(examples, side))


def _group(examples: list[Example], tokens: int) -> list[list[Example]]:
    """Split examples sorted by length into groups of at most `tokens` padded tokens."""
    groups: list[list[Example]] = [[]]
    for example in examples:
        if groups[-1] and (len(groups[-1]) + 1) * len(example.ids) > tokens:
            groups.append([])
        groups[-1].append(example)
    return groups


def batches(examples: list[Example], tokenizer: Tokenizer, tokens: int, seed: int, side: int) -> Iterator[Batch]:
    """Batches without end, each of at most `tokens` tokens; every pass over the examples is in a new order."""
    rng = random.Random(seed)
    pad = tokenizer.token_to_id(END_OF_TEXT)
    while True:
        # Noise in the sort key mixes neighbours, so that a batch is not all one kind of conversation.
        order = sorted(examples, key=lambda e: len(e.ids) * rng.uniform(0.75, 1.0))
        groups = _group(order, tokens)
        rng.shuffle(groups)
        for group in groups:
            yield _collate(group, pad, rng, side)
