"""Greetings, thanks, goodbyes, and who the model is."""

from __future__ import annotations

import random

from training.topics.message import Exchange, assistant, pair, user
from training.topics.script import dialogues
from training.topics.words import person

_HELLO, *_PAIRS = dialogues("smalltalk")
WHO = next(dialogue for dialogue in _PAIRS if "Who are you?" in dialogue.questions)
_FOREIGN = {
    "Hola!": "¡Hola! I speak a little English best. How can I help?",
    "Bonjour!": "Bonjour! I speak English best. How can I help?",
    "Hallo!": "Hallo! I speak English best. How can I help?",
    "Ciao!": "Ciao! I speak English best. How can I help?",
    "Olá!": "Olá! I speak English best. How can I help?",
}


def _introduction(rng: random.Random) -> Exchange:
    """A name is told and, at times, asked for later."""
    name = person(rng)
    told = [
        f"My name is {name}.",
        f"I am {name}.",
        f"Hi, I'm {name}!",
        f"Hello! My name is {name}.",
        f"Call me {name}.",
    ]
    greeted = [
        f"Nice to meet you, {name}!",
        f"Hello, {name}! How can I help you?",
        f"Hi {name}, what can I do for you?",
    ]
    exchange = [user(rng, rng.choice(told), exact=True), assistant(rng.choice(greeted))]
    if rng.random() < 0.5:
        if rng.random() < 0.4:
            exchange += chat(rng)
        asked = ["What is my name?", "Do you remember my name?", "Who am I?", "what's my name?"]
        exchange += [
            user(rng, rng.choice(asked)),
            assistant(rng.choice([f"Your name is {name}.", f"You are {name}."])),
        ]
    return exchange


def chat(rng: random.Random) -> Exchange:
    """One exchange of small talk that needs no memory."""
    if rng.random() < 0.03:
        greeting = rng.choice(list(_FOREIGN))
        return [user(rng, greeting), assistant(_FOREIGN[greeting])]
    return pair(rng, _HELLO if rng.random() < 0.2 else rng.choice(_PAIRS))


def smalltalk(rng: random.Random) -> Exchange:
    """Small talk, sometimes with a name to remember."""
    return _introduction(rng) if rng.random() < 0.2 else chat(rng)
