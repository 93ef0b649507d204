"""Short free texts: names, sentences and notes about anything. They say little; what they teach is to end."""

from __future__ import annotations

import random
from dataclasses import dataclass

from training.topics import words
from training.topics.script import entries

# What is said of things that the model knows nothing of, whatever they are.
HONEST = (
    "I do not know enough about that. I am a small model, and I would rather not guess.",
    "I am not sure, so I will not guess.",
    "That is beyond me, sorry.",
    "I do not know that.",
)
_REMARKS = entries("remarks")
_SAYINGS = entries("sayings")
LONGEST = 280  # characters of a text
_WAYS = ("{x} in short", "A note on {x}", "{x}", "{x}", "{x}", "{x}", "{x}", "{x} for beginners")
_SMALL = (
    "easy", "short", "friendly", "new", "other", "general", "neutral", "good", "calm", "happy", "unknown", "none",
    "medium", "low", "high", "English", "draft", "question", "greeting", "positive", "example", "first", "plain",
)  # fmt: skip
_DID = (
    "{name} went to {place} on {day}.",
    "{name} bought a {thing} in {place}.",
    "{name} from {place} lost a {thing}.",
    "{name} wrote to us about a {thing}.",
    "The {thing} of {name} is broken.",
    "In {place}, {name} opened a shop that sells a {thing} of every kind.",
)
_THEN = (
    "It was a long day.", "The weather was good.", "It cost {number} euros.", "Nobody knew why.", "{other} helped.",
    "Then {other} called.", "It took {number} minutes.", "Everybody was happy with it.", "They will be back on {day}.",
    "It did not work.", "The box was empty.", "{other} was very angry.", "It is still there.",
)  # fmt: skip


def matter(rng: random.Random) -> str:
    """What a text can be about."""
    kind = rng.random()
    if kind < 0.45:
        return words.one_of(rng, words.TOPICS)
    if kind < 0.7:
        return f"{rng.choice(['the', 'a', 'my', 'this', 'our'])} {words.thing(rng)}"
    return rng.choice([words.place, words.full_name, words.company, words.lower_word, words.phrase])(rng)


def _about(template: str, x: str) -> str:
    return template.format(x=x, X=x[:1].upper() + x[1:])


def sentence(rng: random.Random, x: str | None) -> str:
    """One sentence, about `x` if there is one."""
    return rng.choice(_SAYINGS) if x is None or rng.random() < 0.25 else _about(rng.choice(_REMARKS), x)


def text(rng: random.Random, x: str | None) -> str:
    """An honest word, or one sentence to three, none twice.

    After each it must be likelier to end than to go on: at a low temperature an even chance goes on for ever.
    """
    if x is not None and rng.random() < 0.3:
        return rng.choice(HONEST)
    said: list[str] = []
    for _ in range(rng.choices([1, 2, 3], [0.84, 0.13, 0.03])[0]):
        more = sentence(rng, x)
        if more not in said and len(" ".join([*said, more])) <= LONGEST:
            said.append(more)
    return " ".join(said)


def phrase(rng: random.Random, x: str | None) -> str:
    """A title, a name, a word: what has no full stop."""
    kind = rng.random()
    if x is not None and kind < 0.6:
        said = _about(rng.choice(_WAYS), x)
        return said[:1].upper() + said[1:] if rng.random() < 0.7 else said
    if kind < 0.8:
        return rng.choice(_SMALL)
    return rng.choice([words.invented, words.full_name, words.thing, words.phrase, words.place])(rng)


def items(rng: random.Random, x: str | None, count: int | None = None) -> list[str]:
    """Up to four phrases or sentences, none twice."""
    make = rng.choice([sentence, phrase, lambda r, _: words.thing(r), lambda r, _: words.lower_word(r)])
    count = count or rng.choices([1, 2, 3, 4], [0.12, 0.4, 0.42, 0.06])[0]
    made: dict[str, None] = {}
    while len(made) < count:
        made[make(rng, x)] = None
    return list(made)


@dataclass(frozen=True)
class Note:
    """A small text of a few sentences, what to call it, and what it comes to."""

    text: str
    title: str
    summary: str
    tags: list[str]


def note(rng: random.Random) -> Note:
    """Something that happened to somebody."""
    filled = {
        "name": words.full_name(rng),
        "place": words.place(rng),
        "day": rng.choice(["Monday", "Tuesday", "Friday", "Sunday"]),
        "thing": words.thing(rng),
        "number": words.whole(rng),
        "other": words.person(rng),
    }
    first = rng.choice(_DID)
    after = rng.sample(_THEN, rng.randint(1, 4))
    whole = " ".join(part.format(**filled) for part in [first, *after])
    title = "{name} in {place}" if "{place}" in first else "{name}"
    title = "{name} and the {thing}" if "{thing}" in first else title
    tags = [str(filled[key]) for key in ("name", "place", "thing") if "{" + key + "}" in first]
    return Note(whole, title.format(**filled), first.format(**filled), tags)
