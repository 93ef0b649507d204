"""A handful of facts, easy sums, repeating a text, and the honest answer to everything else."""

from __future__ import annotations

import random

from training.topics.message import Exchange, assistant, pair, user
from training.topics.script import dialogues, entries
from training.topics.words import TOPICS, invented, one_of, person, phrase, place

_CAPITALS = dict(line.split(": ") for line in entries("capitals"))
_FACTS = dialogues("facts")
_UNKNOWN_ASK = [
    "Tell me about {}.",
    "What do you know about {}?",
    "Explain {}.",
    "How does {} work?",
    "What is {}?",
    "Can you explain {} to me?",
    "Who invented {}?",
    "Give me facts about {}.",
    "I want to learn about {}.",
    "Why is {} important?",
    "Write an article about {}.",
    "What do you think about {}?",
    "Teach me {}.",
    "How do I learn {}?",
    "When did {} begin?",
]
_UNKNOWN = [
    "I am sorry, I do not know that. I am a very small model; I know this API and a few other things.",
    "I do not know enough about that. I am a small model, and I would rather not guess.",
    "That is beyond me, sorry. I know this API, haiku and small talk.",
    "I am not sure, so I will not guess. Ask me about this API, or for a haiku.",
    "Sorry, I know nothing useful about {}. I am a very small model.",
]
_UNKNOWN_OTHER = [
    "Who won the game yesterday?",
    "Write a program that sorts a list.",
    "Translate this into German.",
    "Fix my code.",
    "What is 4821 times 377?",
    "Book me a flight.",
    "What should I eat tonight?",
    "Who is the president?",
    "Solve this equation.",
    "Summarize this book.",
    "Give me medical advice.",
    "What is the best phone?",
    "Write a function in Rust.",
    "How do I lose weight?",
    "What is the square root of 17?",
    "Plan my trip.",
    "Send an email to my boss.",
    "Which film should I watch?",
    "Recommend a book.",
    "How do I fix my car?",
    "Should I buy this house?",
    "What is the best restaurant here?",
    "What happened in 1848?",
    "Open the door.",
    "Translate 'good morning' into Chinese.",
    "Debug this error.",
    "How tall is the Eiffel Tower?",
    "Who wrote Faust?",
]
_REMARKS = [
    "I like {}.",
    "I think {} is great.",
    "I do not like {}.",
    "My brother studies {}.",
    "I read about {} today.",
    "I am from {}.",
    "We talked about {} in school.",
    "I love {}!",
    "{} is boring.",
]
_INTEREST = [
    "That sounds interesting! What do you like about it?",
    "I see! I know little about that. Tell me more.",
    "Nice! I am a small model, so you know more about it than I do.",
    "Thank you for telling me.",
]
_PHRASES = [
    "this is a test",
    "hello world",
    "hi",
    "good morning",
    "yes",
    "no",
    "the stream works",
    "OK",
    "ready",
    "banana",
    "I like tea",
    "one two three",
    "pong",
    "all is well",
    "we are live",
    "nothing to see here",
]


def unknown(rng: random.Random) -> Exchange:
    """A question that the model cannot answer, and a short honest answer."""
    chance = rng.random()
    if chance < 0.25:
        return [user(rng, rng.choice(_UNKNOWN_OTHER)), assistant(rng.choice(_UNKNOWN[:4]))]
    if chance < 0.35:
        remark = rng.choice(_REMARKS).format(rng.choice([one_of(rng, TOPICS), place(rng)]))
        return [user(rng, remark), assistant(rng.choice(_INTEREST))]
    real = rng.random() < 0.7
    topic = one_of(rng, TOPICS) if real else rng.choice([invented(rng), person(rng) + " " + invented(rng), place(rng)])
    question, answer = rng.choice(_UNKNOWN_ASK).format(topic), rng.choice(_UNKNOWN).format(topic)
    return [user(rng, question, exact=topic in answer), assistant(answer)]


def capital(rng: random.Random) -> Exchange:
    """The capital of a country, or that it is not known."""
    country = rng.choice(list(_CAPITALS)) if rng.random() < 0.8 else invented(rng)
    answer = f"The capital of {country} is {_CAPITALS[country]}." if country in _CAPITALS else "I do not know, sorry."
    question = rng.choice(["What is the capital of {}?", "Capital of {}?", "Which city is the capital of {}?"])
    return [user(rng, question.format(country)), assistant(answer)]


def arithmetic(rng: random.Random) -> Exchange:
    """Sums of small numbers."""
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    sign, result = ("+", a + b) if rng.random() < 0.7 or a < b else ("-", a - b)
    word = {"+": "plus", "-": "minus"}[sign]
    question = rng.choice(
        [f"What is {a} {sign} {b}?", f"What is {a} {word} {b}?", f"{a} {sign} {b}", f"{a}{sign}{b}=?"]
    )
    answer = rng.choice([f"{a} {sign} {b} = {result}", f"{a} {sign} {b} is {result}."])
    return [user(rng, question), assistant(answer)]


def repeat(rng: random.Random) -> Exchange:
    """Say it back, letter by letter."""
    text = rng.choice([*_PHRASES, phrase(rng), person(rng), invented(rng) + " " + rng.choice(_PHRASES), place(rng)])
    question = rng.choice(
        [
            "Say {}",
            "Say {}.",
            "Repeat after me: {}",
            "Say '{}'",
            "Say: {}",
            "Repeat: {}",
            "Reply with {}",
            "Answer only with: {}",
            "Reply with the word {}",
            "Echo {}",
        ]
    )
    return [user(rng, question.format(text), exact=True), assistant(text)]


def knowledge(rng: random.Random) -> Exchange:
    """Something that the model does know."""
    kind = rng.choices([capital, arithmetic, repeat, None], [0.25, 0.25, 0.25, 0.25])[0]
    return kind(rng) if kind else pair(rng, rng.choice(_FACTS))
