"""Answers of several hundred tokens: stories, counting, lists."""

from __future__ import annotations

import random

from training.topics.message import Exchange, assistant, user
from training.topics.words import person

_HEROES = [
    "fox",
    "baker",
    "fisherman",
    "girl",
    "boy",
    "robot",
    "mouse",
    "painter",
    "sailor",
    "gardener",
    "clockmaker",
    "heron",
]
_PLACES = [
    "a small village by the sea",
    "a quiet valley",
    "an old lighthouse",
    "a town of narrow streets",
    "a deep forest",
    "a house on a hill",
    "a harbour town in the north",
]
_THINGS = [
    "a silver key",
    "an old map",
    "a small wooden box",
    "a strange letter",
    "a glass lamp",
    "a blue stone",
    "an empty book",
]
_FRIENDS = [
    "a grey cat",
    "a talking crow",
    "a slow turtle",
    "an old woman",
    "a boy with a drum",
    "a shy dragon",
]
# Each row is one moment of the story, told in one of several ways; a long story passes through all of them.
_ROWS = [
    [
        "Once upon a time there was a {hero} called {name}, who lived in {place}.",
        "Long ago, in {place}, there lived a {hero} whose name was {name}.",
        "There was once a {hero} named {name}. Home was {place}.",
    ],
    [
        "Every morning {name} woke before the sun and opened the window.",
        "Life there was calm, and one day was like the next.",
        "{name} knew every path and every stone there.",
    ],
    [
        "One day {name} found {thing} under the stairs.",
        "Then, one windy evening, {name} found {thing} on the doorstep.",
        "One morning, after a storm, there was {thing} in the grass.",
    ],
    [
        "Nobody knew where it came from.",
        "It was cold to the touch, and it seemed to hum.",
        "Nobody had seen such a thing before.",
    ],
    [
        "{name} could not sleep that night.",
        "All night long {name} thought about it.",
        "That night the wind did not stop talking.",
    ],
    [
        "So, as soon as it was light, {name} packed some bread and left.",
        "In the morning {name} took a warm coat and set out.",
        "At last {name} said: I have to know. And so the journey began.",
    ],
    [
        "The road went over the hills and down to a wide river.",
        "For three days the path led through dark trees.",
        "The first day was easy, and the second was not.",
    ],
    [
        "At the bridge sat {friend}.",
        "By the road, in the rain, {name} met {friend}.",
        "On the third day there came {friend}.",
    ],
    [
        '"Where are you going?" asked a friendly voice.',
        '"You look lost," said the stranger kindly.',
        '"I know what you carry," said the stranger.',
    ],
    [
        "{name} told the whole story, from the beginning.",
        "{name} showed {the_thing}, and they were both quiet for a while.",
        "They shared the bread and talked until it was dark.",
    ],
    [
        "From then on they walked together.",
        '"Then I will come with you," said the new friend.',
        "Two are better than one on a long road, and so they went on together.",
    ],
    [
        "High in the mountains they came to a door in the rock.",
        "At the end of the road stood a tower without windows.",
        "Behind the last hill lay a garden that was on no map.",
    ],
    [
        "It was locked, and there was no one to ask.",
        "It was very quiet there, and even the birds were still.",
        "Their hearts beat fast.",
    ],
    [
        "But when {name} held up {the_thing}, the air began to shine.",
        "Then {the_thing} grew warm, and something moved.",
        "{name} took out {the_thing}, and slowly, very slowly, the way opened.",
    ],
    [
        "Inside there was no gold and no treasure.",
        "They had expected gold, but it was not gold that they found.",
        "It was not at all what they had thought.",
    ],
    [
        "There was a table with two chairs, and soup that was still warm.",
        "There was only a mirror, and in it they saw their home.",
        "There was a small tree, and on it grew one red apple.",
    ],
    [
        "They sat down and laughed until they cried.",
        "They looked at each other and understood.",
        "For a long time they did not say a word.",
    ],
    [
        "In the morning they began the long way back.",
        "Then they turned around, because it was time to go home.",
        "The way home was much shorter than the way there.",
    ],
    [
        "When they came home, everything was as before, and yet it was not the same.",
        "Back home the neighbours wanted to hear everything, twice.",
        "At home the kettle was already singing.",
    ],
    [
        "{name} put {the_thing} on the shelf, where all could see it.",
        "{name} gave {the_thing} to a child who looked curious.",
        "And {the_thing}? It was gone, as if it had never been.",
    ],
    [
        "And if you go there on a clear night, you can still hear them laugh.",
        "And that is the end of the story.",
        "They stayed friends for the rest of their days.",
    ],
]
_LONG_ASK = [
    "Tell me a long story.",
    "Tell me a story.",
    "Write a long story.",
    "Write a story.",
    "I want to hear a story.",
    "Can you tell me a very long story?",
    "Tell me a bedtime story.",
    "Tell me a fairy tale.",
    "story please",
    "Write a story of many words.",
    "Write a long text.",
    "Write something long.",
    "Write an essay.",
    "Write a long essay.",
    "Say something long.",
    "Write 500 words.",
]
_SHORT_ASK = [
    "Tell me a short story.",
    "Write a very short story.",
    "A short story please.",
    "Tell me a tiny story.",
]
_NUMBERS = {
    10: "ten",
    12: "twelve",
    15: "fifteen",
    20: "twenty",
    25: "twenty-five",
    30: "thirty",
    40: "forty",
    50: "fifty",
    60: "sixty",
    100: "one hundred",
}
_LISTS = [
    (
        ["Name the days of the week.", "List the days of the week.", "What are the days of the week?"],
        "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.",
    ),
    (
        ["Name the months.", "List the months of the year.", "What are the twelve months?"],
        "January, February, March, April, May, June, July, August, September, October, November, December.",
    ),
    (
        [
            "Say the alphabet.",
            "Recite the alphabet.",
            "What are the letters of the alphabet?",
            "Write the alphabet.",
        ],
        "A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T, U, V, W, X, Y, Z.",
    ),
    (
        ["Name the planets.", "List the planets.", "Which planets are there?"],
        "Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus, Neptune.",
    ),
    (
        ["Name the four seasons.", "What are the seasons?", "List the seasons."],
        "Spring, summer, autumn and winter.",
    ),
    (
        ["Name some colours.", "List the colors of the rainbow.", "What colours are in a rainbow?"],
        "Red, orange, yellow, green, blue, indigo and violet.",
    ),
]


def story(rng: random.Random) -> Exchange:
    """A story: all its moments when asked for a long one, five when asked for a short one."""
    short = rng.random() < 0.2
    rows = [_ROWS[i] for i in (0, 2, 5, 7, 20)] if short else _ROWS
    thing = rng.choice(_THINGS)
    filled = {
        "name": person(rng),
        "hero": rng.choice(_HEROES),
        "place": rng.choice(_PLACES),
        "thing": thing,
        "the_thing": "the " + thing.split(" ", 1)[1],
        "friend": rng.choice(_FRIENDS),
    }
    sentences = [rng.choice(row).format(**filled) for row in rows]
    sentences = [s[:1].upper() + s[1:] for s in sentences]
    if not short:  # paragraphs
        for i in (3, 8, 13, 17):
            sentences[i] = "\n\n" + sentences[i]
    text = " ".join(sentences).replace(" \n\n", "\n\n")
    return [user(rng, rng.choice(_SHORT_ASK if short else _LONG_ASK)), assistant(text)]


def counting(rng: random.Random) -> Exchange:
    """Numbers in order, separated by commas."""
    top = rng.choice(list(_NUMBERS)) if rng.random() < 0.7 else rng.randint(3, 60)
    start = 1 if rng.random() < 0.85 else rng.randint(1, top)
    said = _NUMBERS.get(top, str(top)) if rng.random() < 0.5 else str(top)
    way = rng.choice(
        [
            "Count to {top}.",
            "Count from {start} to {top}.",
            "Please count from {start} to {top}.",
            "Count up to {top}.",
            "List the numbers from {start} to {top}.",
        ]
    )
    if "{start}" not in way:
        start = 1
    numbers = ", ".join(str(n) for n in range(start, top + 1))
    return [user(rng, way.format(start=start, top=said)), assistant(numbers + ".")]


def listing(rng: random.Random) -> Exchange:
    """A list that everybody knows."""
    questions, answer = rng.choice(_LISTS)
    return [user(rng, rng.choice(questions)), assistant(answer)]


def long(rng: random.Random) -> Exchange:
    """One of the above."""
    return rng.choices([story, counting, listing], [0.5, 0.35, 0.15])[0](rng)
