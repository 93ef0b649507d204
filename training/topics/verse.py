"""Haiku: three lines of 5, 7 and 5 syllables, from banks of lines that belong together."""

from __future__ import annotations

import random

from training.topics.message import Exchange, assistant, user

# Theme: other words for it, first lines (5), middle lines (7), last lines (5).
_THEMES: dict[str, tuple[list[str], list[str], list[str], list[str]]] = {
    "autumn": (
        ["leaves", "fall", "October", "the forest"],
        ["Red leaves on the path", "A cold wind wakes me", "The last warm evening", "Mist between the trees"],
        ["one by one the branches rest", "the river carries them home", "the garden lets go of gold"],
        ["summer says goodbye", "the crows count the days", "smoke above the roofs"],
    ),
    "winter": (
        ["snow", "cold", "January", "ice"],
        [
            "Snow on the window",
            "The pond holds its breath",
            "White fields, not a sound",
            "A long night of frost",
        ],
        ["the kettle begins to sing", "small tracks lead into the woods", "a lamp burns in one far house"],
        ["the whole world is slow", "and morning comes late", "spring sleeps underneath"],
    ),
    "spring": (
        ["flowers", "April", "blossom", "a garden"],
        ["First rain of April", "A bud on the branch", "The snow melts away", "Soft light on the hill"],
        ["the blackbird tries a new song", "green whispers under the soil", "bees argue over the plum"],
        ["the door stays open", "everything begins", "petals on my sleeve"],
    ),
    "summer": (
        ["heat", "the sun", "July", "holidays"],
        ["Heat above the road", "The long afternoon", "Bare feet in the grass", "Noon, and no shadow"],
        ["cicadas count the hours", "the lemonade has gone warm", "a dog sleeps under the cart"],
        ["clouds forget to move", "the sea calls my name", "evening takes its time"],
    ),
    "the sea": (
        ["the ocean", "waves", "water", "ships"],
        [
            "Waves on the dark stones",
            "The tide turns again",
            "Salt on the old ropes",
            "A gull rides the wind",
        ],
        ["each one tells the same story", "the boats lean against the night", "far out, a light answers it"],
        ["the shore listens still", "nothing stays for long", "home is out of sight"],
    ),
    "night": (
        ["stars", "the moon", "sleep", "dreams"],
        [
            "Moon over the roof",
            "The stars are all out",
            "The street lamps go dark",
            "Late train, empty seats",
        ],
        ["a cat walks along the wall", "the city folds up its noise", "my thoughts grow quiet as well"],
        ["sleep comes on soft feet", "the clock keeps its watch", "dreams wait at the door"],
    ),
    "code": (
        ["programming", "bugs", "software", "computers", "an API"],
        ["One missing bracket", "The tests are all green", "Red text on the screen", "A bug in the loop"],
        ["I read the same line again", "the build runs into the night", "the answer was in the logs"],
        ["coffee has gone cold", "ship it and go home", "now it works. But why?"],
    ),
    "streaming": (
        ["tokens", "a stream", "language models", "artificial intelligence"],
        ["Tokens, one by one", "A word, then a word", "The prompt is waiting"],
        ["the sentence finds its own way", "meaning gathers like the rain", "a small model thinks of you"],
        ["and then it is done", "the stream finds the sea", "silence after that"],
    ),
    "coffee": (
        ["tea", "morning", "breakfast", "a cup"],
        ["Steam above the cup", "The first cup of day", "Beans ground in the dark"],
        ["the kitchen fills up with light", "my hands remember the warmth", "no one has spoken a word"],
        ["then the day begins", "one more, and then work", "the spoon rings softly"],
    ),
    "a cat": (
        ["cats", "a kitten", "pets", "my cat"],
        ["The cat on the sill", "Two eyes in the dark", "A tail in the air"],
        ["she watches the falling rain", "the cushion belongs to her", "the keyboard is now her bed"],
        ["she has other plans", "the mouse is long gone", "then she sleeps again"],
    ),
    "rain": (
        ["clouds", "storms", "a storm", "the weather"],
        ["Rain on the tin roof", "Grey clouds on the hill", "The first heavy drops"],
        ["the gutters begin to talk", "umbrellas bloom in the street", "the earth smells of something new"],
        ["I stay in today", "the frogs are happy", "then the sun comes out"],
    ),
    "friendship": (
        ["love", "friends", "family", "people", "home"],
        ["An old friend writes me", "Two cups on the bench", "Your name on the phone"],
        ["we talk as if yesterday", "the years fold into an hour", "laughter comes in at the door"],
        ["nothing has been lost", "the road home is short", "stay a while longer"],
    ),
    "mountains": (
        ["a mountain", "hiking", "nature", "a walk", "birds"],
        ["The path climbs in fog", "High above the pines", "A stone in my shoe"],
        ["an eagle turns in the blue", "the valley is small and far", "each step a little slower"],
        ["the wind knows my name", "then the view opens", "the summit can wait"],
    ),
}
_ASK = [
    "Write a haiku",
    "Write a haiku.",
    "Write me a haiku",
    "Compose a haiku.",
    "I would like a haiku.",
    "haiku please",
    "Give me a haiku.",
    "Can you write a haiku?",
    "Write a short poem.",
    "Please write a haiku",
    "Another haiku!",
    "Write a poem.",
    "Poem please",
    "Can you write a poem?",
    "One more haiku, please.",
]
_ASK_ABOUT = [
    "Write a haiku about {}",
    "Write a haiku about {}.",
    "A haiku about {} please",
    "Haiku about {}",
    "Can you write a haiku about {}?",
    "Write a poem about {}.",
    "Write me a short poem about {}",
]


def _haiku(rng: random.Random, theme: str) -> str:
    _, first, middle, last = _THEMES[theme]
    return f"{rng.choice(first)},\n{rng.choice(middle)};\n{rng.choice(last)}."


def haiku(rng: random.Random) -> Exchange:
    """A haiku about anything, or about a theme that was asked for."""
    theme = rng.choice(list(_THEMES))
    if rng.random() < 0.5:
        return [user(rng, rng.choice(_ASK)), assistant(_haiku(rng, theme))]
    asked = rng.choice([theme, theme, *_THEMES[theme][0]])
    return [user(rng, rng.choice(_ASK_ABOUT).format(asked)), assistant(_haiku(rng, theme))]
