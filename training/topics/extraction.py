"""Fields taken out of a text into JSON: known kinds of text, and `key: value` texts with any keys."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.topics import words
from training.topics.message import Exchange, assistant
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


@dataclass(frozen=True)
class Extraction:
    """A request for JSON: what the user writes, the schema, and the only right answer."""

    prompt: str
    schema: dict[str, Any]
    answer: dict[str, Any]


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

_KEYS = entries("keys")
_MAKERS: tuple[tuple[str, Maker], ...] = (
    ("string", words.invented),
    ("string", words.full_name),
    ("string", words.thing),
    ("string", words.code),
    ("string", words.day),
    ("integer", words.whole),
    ("number", words.money),
)
_PAIR_FORMS = ("{}: {}", "{} = {}", "the {} is {}", "{} {}", "{} - {}")
_ASKS = (
    "Extract the data: {text}", "Extract {keys} from this text: {text}", "{text}\n\nReturn {keys} as JSON.",
    "Get the {keys}: {text}", "Text: {text}\nJSON:", "Parse this: {text}", "{text}", "Give me {keys} as JSON.\n{text}",
    "Extract the fields {keys}.\n\n{text}", "What are the {keys}? {text}", "Turn this into JSON: {text}",
)  # fmt: skip


def extraction(rng: random.Random) -> Extraction:
    """A text and what is to be taken out of it."""
    return _pairs(rng) if rng.random() < 0.3 else _known(rng)


def _known(rng: random.Random) -> Extraction:
    kind = rng.choice(KINDS)
    template = rng.choice(kind.texts)
    present = [name for name in kind.fields if "{" + name + "}" in template]
    values = {name: kind.fields[name].make(rng) for name in present}
    text = template.format(**{name: _in_text(kind.fields[name], value) for name, value in values.items()})
    text = _surrounded(rng, text)
    wanted = present if rng.random() < 0.6 else rng.sample(present, rng.randint(1, len(present)))
    schemas = {name: {k: v for k, v in kind.fields[name].schema.items() if k != "x-words"} for name in wanted}
    return _request(rng, text, schemas, {name: values[name] for name in wanted})


def _in_text(field: Field, value: Any) -> str:
    if "x-words" in field.schema:
        return str(field.schema["x-words"][0 if value else 1])
    if isinstance(value, list):
        return value[0] if len(value) == 1 else ", ".join(value[:-1]) + " and " + value[-1]
    return str(value)


def _surrounded(rng: random.Random, text: str) -> str:
    """With a sentence before or after that says nothing to the matter."""
    idle = ["Hello!", "Thank you very much.", "It was a rainy morning.", "Please confirm.", "See you soon.", "Hi,"]
    if rng.random() < 0.12:
        text = f"{rng.choice(idle)} {text}"
    if rng.random() < 0.12:
        text = f"{text} {rng.choice(idle)}"
    return text


def _pairs(rng: random.Random) -> Extraction:
    """Any keys with any values, one beside the other."""
    keys = rng.sample(_KEYS, rng.randint(1, 5))
    made = {key: rng.choice(_MAKERS) for key in keys}
    values = {key: make(rng) for key, (_, make) in made.items()}
    form, joint = rng.choice(_PAIR_FORMS), rng.choice([", ", "; ", "\n", ". "])
    said = [form.format(key.replace("_", " "), value) for key, value in values.items()]
    text = joint.join(said)
    wanted = keys if rng.random() < 0.5 else rng.sample(keys, rng.randint(1, len(keys)))
    schemas = {key: {"type": made[key][0]} for key in wanted}
    return _request(rng, text, schemas, {key: values[key] for key in wanted})


def _request(rng: random.Random, text: str, schemas: dict[str, Any], answer: dict[str, Any]) -> Extraction:
    names = list(answer)
    keys = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    prompt = rng.choice(_ASKS).format(text=text, keys=keys)
    schema = {"type": "object", "properties": schemas, "required": names, "additionalProperties": False}
    return Extraction(prompt, schema, answer)


_SYSTEMS = ("Extract the data as JSON.", "You extract data from texts.", "Answer in JSON.", "Return JSON only.")


def json_answer(rng: random.Random) -> Exchange:
    """A request for JSON and the answer, compact as the engine's grammar writes it."""
    request = extraction(rng)
    answer = json.dumps(request.answer, ensure_ascii=False, separators=(",", ":"))
    exchange = [{"role": "user", "content": request.prompt}, assistant(answer)]
    # A bare text wants JSON only when something says so; in the service that is the grammar.
    if rng.random() < 0.25:
        exchange.insert(0, {"role": "system", "content": rng.choice(_SYSTEMS)})
    return exchange
