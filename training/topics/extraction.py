"""Fields taken out of a text into JSON: known kinds of text, and `key: value` texts with any keys."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from training.topics import words
from training.topics.message import Exchange, assistant
from training.topics.script import entries
from training.topics.text_kinds import KINDS, Field, Maker


@dataclass(frozen=True)
class Extraction:
    """A request for JSON: what the user writes, the schema, and the only right answer."""

    prompt: str
    schema: dict[str, Any]
    answer: dict[str, Any]


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
