"""Jokes: a question that sets them up and an answer that resolves it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from training.topics.message import Exchange, assistant, user
from training.topics.script import entries
from training.topics.words import TOPICS, one_of, place, thing


@dataclass(frozen=True)
class Joke:
    """A joke and what it is about."""

    about: str
    setup: str
    punchline: str


JOKES = [Joke(*line.split(" | ")) for line in entries("jokes")]
_ASK = (
    "Tell me a joke.", "Tell me a joke", "Tell a joke.", "Tell me a short joke.", "Do you know a joke?",
    "A joke please", "Another joke please", "Make me laugh.", "Say something funny.", "Give me a joke.",
    "Write a joke.", "joke", "I want to hear a joke.", "Can you tell me a joke?",
    "One more joke!", "Tell me something funny.",
)  # fmt: skip
_ASK_ABOUT = (
    "Tell me a joke about {}.", "Tell me a joke about {}", "Do you know a joke about {}?", "A joke about {} please",
    "Give me a joke about {}.", "Write a joke about {}.", "Make a joke about {}.", "Say something funny about {}.",
    "Give me a joke about {}, include the punchline.", "I want to hear a joke about {}.", "Tell a {} joke.",
)  # fmt: skip


def asked(rng: random.Random) -> tuple[str, Joke]:
    """A wish for a joke and one that fits it; about what no joke is known of, any joke."""
    joke = rng.choice(JOKES)
    chance = rng.random()
    if chance < 0.4:
        return rng.choice(_ASK), joke
    if chance < 0.7:
        return rng.choice(_ASK_ABOUT).format(joke.about), joke
    other = rng.choice([one_of(rng, TOPICS), f"the {thing(rng)}", place(rng)])
    return rng.choice(_ASK_ABOUT).format(other), joke


def joke(rng: random.Random) -> Exchange:
    """A joke told in plain text."""
    question, told = asked(rng)
    return [user(rng, question), assistant(f"{told.setup} {told.punchline}")]
