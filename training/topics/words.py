"""Names and things that the other subjects fill in, real ones and invented ones, with some kept for evaluation only."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

from training.topics.script import entries

CITIES = entries("cities")
LONG_CITIES = entries("long_cities")
NAMES = entries("names")
TOPICS = entries("subjects")
_ONSETS = entries("onsets")
_VOWELS = entries("vowels")
_CODAS = [*entries("codas"), ""]
_ENDINGS = entries("endings")
# Parts of towns' names; no names themselves.
PREFIXES = ("New", "San", "Port", "Saint", "Upper", "El", "North")
# One word in so many is never shown in training; evaluation uses only those.
_KEPT = 6


def is_kept(word: str) -> bool:
    """Whether this word is kept for evaluation."""
    return zlib.crc32(word.lower().encode()) % _KEPT == 0


class Draw(random.Random):
    """Randomness with a side: in training it never gives a kept word, with `held_out` nothing else."""

    def __init__(self, seed: int, *, held_out: bool = False) -> None:
        super().__init__(seed)
        self.held_out = held_out


def allowed(rng: random.Random, word: str) -> bool:
    """Whether this side may use the word."""
    return is_kept(word) == getattr(rng, "held_out", False)


def one_of(rng: random.Random, words: Sequence[str]) -> str:
    """One of the words that this side may use."""
    while True:
        word = rng.choice(words)
        if allowed(rng, word):
            return word


def _syllable(rng: random.Random) -> str:
    onset = rng.choice(_ONSETS) if rng.random() < 0.9 else ""
    return onset + rng.choice(_VOWELS) + (rng.choice(_CODAS) if rng.random() < 0.4 else "")


def lower_word(rng: random.Random) -> str:
    """A made-up word in small letters, so that the model learns to copy and not only to recognise."""
    while True:
        syllables = "".join(_syllable(rng) for _ in range(rng.choice([1, 1, 2, 2, 2, 3])))
        word = syllables + (rng.choice(_ENDINGS) if rng.random() < 0.5 else "")
        if 3 <= len(word) <= 14 and allowed(rng, word):
            return word


def invented(rng: random.Random) -> str:
    """A made-up name."""
    return lower_word(rng).capitalize()


def place(rng: random.Random) -> str:
    """A city, real or invented, of one word or two."""
    chance = rng.random()
    if chance < 0.08:
        return one_of(rng, LONG_CITIES) if not getattr(rng, "held_out", False) else f"New {invented(rng)}"
    if chance < 0.16:
        return f"{rng.choice(PREFIXES)} {invented(rng)}"
    return one_of(rng, CITIES) if chance < 0.5 else invented(rng)


def person(rng: random.Random) -> str:
    """A first name, real or invented."""
    return one_of(rng, NAMES) if rng.random() < 0.5 else invented(rng)


def full_name(rng: random.Random) -> str:
    """A first name and mostly a family name."""
    return person(rng) if rng.random() < 0.3 else f"{person(rng)} {invented(rng)}"


def company(rng: random.Random) -> str:
    """A firm."""
    ending = rng.choice(["", "", "", " Ltd", " Inc", " Group", " Labs", " GmbH", " & Sons", " Foods", " Bank"])
    return invented(rng) + ending


_THINGS = entries("things")
_KINDS = entries("kinds")


def thing(rng: random.Random) -> str:
    """Something that can be bought: real or invented, one word or two."""
    noun = one_of(rng, _THINGS) if rng.random() < 0.5 else lower_word(rng)
    return f"{rng.choice(_KINDS)} {noun}" if rng.random() < 0.4 else noun


def phrase(rng: random.Random) -> str:
    """What one may search for or write on a list."""
    kind = rng.random()
    if kind < 0.3:
        return one_of(rng, TOPICS)
    if kind < 0.6:
        return thing(rng)
    return f"{thing(rng)} {rng.choice(['in', 'from', 'for', 'near', 'by'])} {place(rng)}"


def code(rng: random.Random) -> str:
    """An order number, a flight, a ticket."""
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    return f"{letters}{rng.choice(['', '-'])}{rng.randint(10, 99999)}"


_MONTHS = entries("months")
_DAYS = entries("days")


def day(rng: random.Random) -> str:
    """A date as it stands in text."""
    if rng.random() < 0.5:
        return f"{rng.randint(2019, 2031)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    date = f"{rng.randint(1, 28)} {rng.choice(_MONTHS)}"
    return rng.choice([date, rng.choice(_DAYS)])


def clock(rng: random.Random) -> str:
    """A time of the day."""
    return f"{rng.randint(0, 23):02d}:{rng.choice([0, 0, 15, 30, 45, rng.randint(0, 59)]):02d}"


def email(rng: random.Random) -> str:
    """An address."""
    return f"{person(rng).lower()}@{lower_word(rng)}.{rng.choice(['com', 'org', 'net', 'de', 'io'])}"


def phone(rng: random.Random) -> str:
    """A telephone number."""
    return rng.choice(["", "+"]) + f"{rng.randint(10, 99)} {rng.randint(100, 999)} {rng.randint(1000, 9999)}"


def whole(rng: random.Random) -> int:
    """A whole number, mostly small."""
    return rng.choice([rng.randint(1, 9), rng.randint(1, 99), rng.randint(10, 999), rng.randint(1000, 99999)])


def money(rng: random.Random) -> float:
    """An amount with cents, or a whole one."""
    amount = rng.choice([rng.randint(1, 99), rng.randint(1, 999) + rng.choice([0.5, 0.99, 0.95, 0.25])])
    return amount
