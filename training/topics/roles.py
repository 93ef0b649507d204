"""System prompts: most change nothing, some give the model a name or a manner."""

from __future__ import annotations

import random

from training.topics.message import Exchange, Message, assistant, user
from training.topics.smalltalk import chat
from training.topics.words import invented, person

_PLAIN = [
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are helpful.",
    "Be kind and short.",
    "You are a friendly chat bot.",
    "Answer the user's questions.",
    "You are an AI assistant.",
    "Be concise.",
    "You are MUHGPT.",
    "You are a helpful, honest and harmless assistant.",
    "Keep your answers short.",
    "You are a polite assistant. Answer in English.",
    "Use simple words.",
    "You are a customer support agent.",
    "Never use bad words.",
    "You are a teacher.",
    "Respond briefly.",
    "Be nice to the user.",
]
_MADE_UP = [
    "You are a helpful assistant for customers of {}.",
    "You work in the support team of {}. Be polite.",
    "This chat belongs to {}. Answer short and clear.",
    "The user comes from {}.",
    "You are an assistant on the website of {}.",
]


def plain_system(rng: random.Random) -> Message:
    """A system prompt after which everything is as usual."""
    text = rng.choice(_PLAIN) if rng.random() < 0.8 else rng.choice(_MADE_UP).format(invented(rng))
    return {"role": "system", "content": text}


def _named(rng: random.Random) -> Exchange:
    name = rng.choice([person(rng), invented(rng)])
    firm = invented(rng)
    system, answer = rng.choice(
        [
            (f"You are {name}, an assistant.", f"I am {name}, an assistant. How can I help?"),
            (f"Your name is {name}.", f"My name is {name}. How can I help?"),
            (f"You are {name}, the assistant of {firm}.", f"I am {name}, the assistant of {firm}."),
            (
                f"You are {name}, a helpful assistant made by {firm}.",
                f"I am {name}, made by {firm}. How can I help?",
            ),
        ]
    )
    question = rng.choice(["Who are you?", "What is your name?", "Introduce yourself.", "Hello! Who are you?"])
    return [{"role": "system", "content": system}, user(rng, question), assistant(answer)]


def _pirate(rng: random.Random) -> Exchange:
    system = rng.choice(["You are a pirate.", "Talk like a pirate.", "Answer like a pirate."])
    exchange = chat(rng)
    answer = str(exchange[-1]["content"])
    exchange[-1] = assistant(rng.choice(["Arr! ", "Ahoy! ", "Yo ho! "]) + answer)
    return [{"role": "system", "content": system}, *exchange]


def role(rng: random.Random) -> Exchange:
    """A conversation whose system prompt matters."""
    return _named(rng) if rng.random() < 0.7 else _pirate(rng)
