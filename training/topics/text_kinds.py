"""Kinds of text that hold fields: what the fields are, and sentences with them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.topics import words
from training.topics.script import entries

Maker = Callable[[random.Random], Any]


@dataclass(frozen=True)
class Field:
    """A field: its JSON schema and its values."""

    schema: dict[str, Any]
    make: Maker


@dataclass(frozen=True)
class Kind:
    """A kind of text: its fields, and sentences that hold all or some of them."""

    fields: dict[str, Field]
    texts: tuple[str, ...]


def _string(make: Maker) -> Field:
    return Field({"type": "string"}, make)


def _integer(make: Maker) -> Field:
    return Field({"type": "integer"}, make)


def _number(make: Maker) -> Field:
    return Field({"type": "number"}, make)


def _choice(*values: str) -> Field:
    return Field({"type": "string", "enum": list(values)}, lambda r: r.choice(values))


def _list(make: Maker) -> Field:
    def several(rng: random.Random) -> list[Any]:
        return [make(rng) for _ in range(rng.choice([1, 2, 2, 3, 3, 4]))]

    return Field({"type": "array", "items": {"type": "string"}}, several)


def _yes(word_yes: str, word_no: str) -> Field:
    """A boolean that the text says in words."""
    return Field({"type": "boolean", "x-words": [word_yes, word_no]}, lambda r: r.random() < 0.5)


def _years(rng: random.Random) -> int:
    return rng.randint(1, 99)


_JOBS = entries("jobs")

KINDS = (
    Kind(
        {
            "name": _string(words.full_name),
            "age": _integer(_years),
            "city": _string(words.place),
            "job": _string(lambda r: words.one_of(r, _JOBS) if r.random() < 0.6 else words.lower_word(r)),
        },
        (
            "{name} is {age} years old and lives in {city}.", "{name}, {age}, from {city}, works as a {job}.",
            "My name is {name}, I am {age} and I live in {city}.", "{name} is a {job} in {city}, aged {age}.",
            "I am {name} from {city}. I am a {job}.", "In {city} lives {name}, a {job} of {age} years.",
            "{name} ({age}) is a {job}.", "{name} is {age}.", "{name} moved to {city} at the age of {age}.",
        ),
    ),
    Kind(
        {
            "product": _string(words.thing),
            "quantity": _integer(lambda r: r.randint(1, 50)),
            "price": _number(words.money),
            "customer": _string(words.full_name),
        },
        (
            "{customer} ordered {quantity} {product} for {price} euros.",
            "{quantity} {product} at {price} each, for {customer}.",
            "I would like {quantity} {product}. My name is {customer}.", "The {product} costs {price}.",
            "Order: {quantity} x {product}, {price} EUR", "{customer} bought a {product} for {price} dollars.",
            "Please send {quantity} {product} to {customer}. The price is {price}.",
        ),
    ),
    Kind(
        {
            "title": _string(words.phrase),
            "date": _string(words.day),
            "time": _string(words.clock),
            "place": _string(words.place),
        },
        (
            "{title} on {date} at {time} in {place}.", "We meet for {title} in {place} on {date}, {time}.",
            "The event {title} is on {date} at {time}.", "Join us in {place} on {date} for {title}!",
            "{date}, {time}: {title} ({place})", "On {date} there is {title} in {place}.",
        ),
    ),
    Kind(
        {
            "name": _string(words.full_name),
            "email": _string(words.email),
            "phone": _string(words.phone),
            "company": _string(words.company),
        },
        (
            "{name}, {company}, {email}, {phone}", "Contact {name} of {company} at {email} or {phone}.",
            "You can reach {name} at {email}.", "Call {name} at {phone}.", "{name} works for {company}. Email: {email}",
            "Best regards, {name}, {company}, {phone}", "Write to {email} and ask for {name}.",
        ),
    ),
    Kind(
        {
            "from": _string(words.place),
            "to": _string(words.place),
            "date": _string(words.day),
            "airline": _string(words.invented),
            "flight": _string(words.code),
        },
        (
            "Flight {flight} from {from} to {to} on {date} with {airline}.", "I fly from {from} to {to} on {date}.",
            "{airline} {flight}: {from} to {to}, {date}", "On {date} I travel to {to} from {from}.",
            "{airline} flies from {from} to {to}.", "My flight {flight} leaves {from} for {to} on {date}.",
        ),
    ),
    Kind(
        {
            "title": _string(words.invented),
            "author": _string(words.full_name),
            "year": _integer(lambda r: r.randint(1800, 2030)),
            "pages": _integer(lambda r: r.randint(20, 1500)),
        },
        (
            "{title} by {author} came out in {year} and has {pages} pages.", "{author} wrote {title} in {year}.",
            "The book {title}, {pages} pages, is by {author}.", "{title} ({year}), {author}, {pages} pages",
            "In {year} {author} published {title}.",
        ),
    ),
    Kind(
        {
            "name": _string(words.person),
            "animal": _choice("cat", "dog", "bird", "fish", "horse"),
            "age": _integer(lambda r: r.randint(1, 25)),
            "colour": _choice("black", "white", "brown", "grey", "orange"),
        },
        (
            "{name} is a {colour} {animal} of {age} years.", "My {animal} is called {name} and is {age} years old.",
            "I have a {colour} {animal} named {name}.", "Our {animal} {name} is {colour}.",
            "{name} the {animal} is {age}.",
        ),
    ),
    Kind(
        {
            "product": _string(words.thing),
            "priority": _choice("low", "normal", "high"),
            "customer": _string(words.full_name),
            "ticket": _string(words.code),
        },
        (
            "Ticket {ticket}: {customer} has a problem with the {product}, priority {priority}.",
            "{customer} says the {product} is broken. Priority: {priority}",
            "{ticket}, {priority}, {product}, {customer}",
            "The {product} of {customer} does not work. This has {priority} priority.",
        ),
    ),
    Kind(
        {
            "recipient": _string(words.full_name),
            "amount": _number(words.money),
            "currency": _choice("EUR", "USD", "GBP", "CHF"),
            "paid": _yes("paid", "not paid"),
        },
        (
            "Pay {amount} {currency} to {recipient}.", "{recipient} gets {amount} {currency}; it is {paid}.",
            "The bill of {recipient} over {amount} {currency} is {paid}.",
            "Invoice for {recipient}: {amount} {currency}, {paid}",
            "I sent {recipient} {amount} {currency}.",
        ),
    ),
    Kind(
        {
            "team": _string(words.invented),
            "members": _list(words.person),
            "city": _string(words.place),
        },
        (
            "The team {team} has these members: {members}.", "{members} are in the team {team} in {city}.",
            "Team {team} ({city}): {members}", "In {city}, {members} play for {team}.",
        ),
    ),
    Kind(
        {
            "dish": _string(words.invented),
            "ingredients": _list(lambda r: words.lower_word(r) if r.random() < 0.6 else words.thing(r)),
            "minutes": _integer(lambda r: r.randint(5, 180)),
        },
        (
            "For {dish} you need {ingredients}. It takes {minutes} minutes.",
            "{dish}: {ingredients} ({minutes} minutes)",
            "To cook {dish}, take {ingredients}.", "{dish} is ready in {minutes} minutes. Ingredients: {ingredients}",
        ),
    ),
    Kind(
        {
            "company": _string(words.company),
            "position": _string(lambda r: words.one_of(r, _JOBS) if r.random() < 0.6 else words.lower_word(r)),
            "city": _string(words.place),
            "salary": _integer(lambda r: r.randint(20, 150) * 1000),
            "remote": _yes("remote", "not remote"),
        },
        (
            "{company} is looking for a {position} in {city}. The salary is {salary}.",
            "{position} at {company}, {city}, {remote}, {salary} a year", "Job: {position} for {company} ({remote})",
            "We at {company} need a {position}. Work is {remote}. We pay {salary}.",
        ),
    ),
)  # fmt: skip
