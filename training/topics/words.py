"""Names and things that the other subjects fill in, real ones and invented ones."""

from __future__ import annotations

import random

from training.topics.script import entries

CITIES = entries("cities")
LONG_CITIES = entries("long_cities")
NAMES = entries("names")
TOPICS = entries("subjects")
_STARTS = [
    "Bal",
    "Cor",
    "Dal",
    "El",
    "Fen",
    "Gar",
    "Hol",
    "Ist",
    "Jar",
    "Kel",
    "Lor",
    "Mar",
    "Nor",
    "Ol",
    "Per",
    "Quin",
    "Ros",
    "Sel",
    "Tar",
    "Ul",
    "Vel",
    "Wil",
    "Xan",
    "Yor",
    "Zan",
]
_MIDDLES = ["a", "e", "i", "o", "u", "an", "en", "or", "il", "am", "ur", "es"]
_ENDS = [
    "dor",
    "ville",
    "ra",
    "nia",
    "ton",
    "berg",
    "ska",
    "mo",
    "lin",
    "va",
    "ris",
    "tan",
    "burg",
    "dale",
    "ka",
    "no",
    "wick",
    "ford",
    "sa",
    "mi",
]


def invented(rng: random.Random) -> str:
    """A made-up name, so that the model learns to copy and not only to recognise."""
    middle = rng.choice(_MIDDLES) if rng.random() < 0.6 else ""
    return rng.choice(_STARTS) + middle + rng.choice(_ENDS)


def place(rng: random.Random) -> str:
    """A city: mostly real, sometimes of two words, sometimes invented."""
    chance = rng.random()
    if chance < 0.1:
        return rng.choice(LONG_CITIES)
    return rng.choice(CITIES) if chance < 0.7 else invented(rng)


def person(rng: random.Random) -> str:
    """A first name: mostly real, sometimes invented."""
    return rng.choice(NAMES) if rng.random() < 0.7 else invented(rng)
