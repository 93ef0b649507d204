"""Messages, and the ways in which people write the same thing differently."""

from __future__ import annotations

import random
from typing import Any

from training.topics.script import Dialogue

Message = dict[str, Any]
Exchange = list[Message]

_OPENERS = ["please ", "hey, ", "hi, ", "ok, ", "can you help me? ", "quick question: ", "so, "]
_CLOSERS = [" please", " Please.", " Thanks!", " thank you", " :)"]


def assistant(text: str) -> Message:
    """What the model says."""
    return {"role": "assistant", "content": text}


def vary(rng: random.Random, text: str) -> str:
    """The same request as another person might type it: lower case, no full stop, a polite word."""
    if rng.random() < 0.25:
        text = text.rstrip("?.!")
    if rng.random() < 0.08:
        text += rng.choice(_CLOSERS)
    if rng.random() < 0.08:
        text = rng.choice(_OPENERS) + text
    if rng.random() < 0.3:
        text = text[:1].lower() + text[1:]
    if rng.random() < 0.12:
        text = text.lower()
    return text


def user(rng: random.Random, text: str, *, exact: bool = False) -> Message:
    """What a person says; `exact` keeps the letters as they are, where the answer copies them."""
    return {"role": "user", "content": text if exact else vary(rng, text)}


def pair(rng: random.Random, dialogue: Dialogue) -> Exchange:
    """One of a dialogue's questions and one of its answers."""
    return [user(rng, rng.choice(dialogue.questions)), assistant(rng.choice(dialogue.answers))]
