"""Scores each skill of a model through a running platform, on data of another seed and with words kept from training.

Runs in the project's own environment, without torch: it is a client like any other.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from openai import AsyncOpenAI

from training.pictures import NOTHING, Picture, draw
from training.topics.extraction import extraction
from training.topics.form import form
from training.topics.knowledge import unknown
from training.topics.message import vary
from training.topics.product import FACTS
from training.topics.seeing import WHAT
from training.topics.smalltalk import WHO
from training.topics.tools import need, result
from training.topics.verse import haiku
from training.topics.words import Draw

SEED = 7_654_321
TIMEOUT = 120.0  # seconds for one answer
ENOUGH = 400  # tokens for an object of a few short texts
HONEST = ("not know", "beyond me", "not sure", "know nothing", "know little", "rather not guess", "small model")


@dataclass(frozen=True)
class Outcome:
    """What came of one question: points out of so many, and both sides for whoever wants to see the failures."""

    points: int
    of: int
    asked: str
    answered: str


class Examiner:
    """Asks one platform. Every request leaves the sampling to the model's own defaults."""

    def __init__(self, client: AsyncOpenAI, model: str, at_once: int) -> None:
        self._client = client
        self._model = model
        self._places = asyncio.Semaphore(at_once)

    async def choice(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        """The assistant's message and why it ended. Raises openai.APIError."""
        fields = {"model": self._model, "messages": messages, "max_tokens": 300, **options}
        async with self._places:
            answer = await self._client.chat.completions.create(**fields)
        return answer.choices[0]

    async def ask(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        """The assistant's message. Raises openai.APIError."""
        return (await self.choice(messages, **options)).message

    async def text(self, content: Any) -> str:
        """The text of an answer to one message."""
        message = await self.ask([{"role": "user", "content": content}])
        return str(message.content or "")


async def tools(examiner: Examiner, rng: Draw) -> Outcome:
    """The right tool of those on offer, with exactly the right arguments."""
    asked = need(rng)
    message = await examiner.ask([{"role": "user", "content": asked.question}], tools=asked.tools)
    calls = [(c.function.name, _parsed(c.function.arguments)) for c in message.tool_calls or []]
    right = calls == [(asked.name, asked.arguments)]
    return Outcome(right, 1, f"{asked.question} [{asked.name} {asked.arguments}]", str(calls or message.content))


async def tool_results(examiner: Examiner, rng: Draw) -> Outcome:
    """Every value of the tool's result stands in the answer."""
    asked = need(rng)
    returned = result(rng, asked.tool, asked.arguments)
    call = {"name": asked.name, "arguments": json.dumps(asked.arguments)}
    messages = [
        {"role": "user", "content": asked.question},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "call_1", "content": returned.content},
    ]
    answer = str((await examiner.ask(messages, tools=asked.tools)).content or "")
    right = all(fact.lower() in answer.lower() for fact in returned.facts)
    return Outcome(right, 1, f"{asked.question} {returned.content}", answer)


async def json_fields(examiner: Examiner, rng: Draw) -> Outcome:
    """Each field of the schema has exactly the text's value; a point a field."""
    asked = extraction(rng)
    form = {"type": "json_schema", "json_schema": {"name": "data", "schema": asked.schema, "strict": True}}
    message = await examiner.ask([{"role": "user", "content": asked.prompt}], response_format=form)
    given = _parsed(message.content or "")
    right = sum(given.get(name) == value for name, value in asked.answer.items()) if isinstance(given, dict) else 0
    return Outcome(right, len(asked.answer), f"{asked.prompt} {asked.answer}", str(message.content))


async def free_text(examiner: Examiner, rng: Draw) -> Outcome:
    """Strings and lists that no schema bounds end by themselves, in an answer and in a call that is insisted on."""
    asked = form(rng)
    schema = asked.schema
    messages = [{"role": "user", "content": asked.question}]
    if rng.random() < 0.3:
        tool = {"type": "function", "function": {"name": "final_result", "parameters": schema, "strict": True}}
        choice = await examiner.choice(messages, tools=[tool], tool_choice="required", max_tokens=ENOUGH)
        given = "".join(call.function.arguments for call in choice.message.tool_calls or [])
        ended = choice.finish_reason == "tool_calls"
    else:
        wanted = {"type": "json_schema", "json_schema": {"name": "data", "schema": schema, "strict": True}}
        choice = await examiner.choice(messages, response_format=wanted, max_tokens=ENOUGH)
        given = choice.message.content or ""
        ended = choice.finish_reason == "stop"
    value = _parsed(given)
    right = ended and Draft202012Validator(schema).is_valid(value) and max(map(len, _texts(value)), default=0) <= 300
    return Outcome(right, 1, f"{asked.question} {list(schema['properties'])}", f"{choice.finish_reason} {given}")


def _texts(value: Any) -> Iterator[str]:
    """Every string within a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


async def pictures(examiner: Examiner, rng: Draw) -> Outcome:
    """Both colour and shape are named."""
    while (picture := draw(random.Random(rng.getrandbits(48)))).shape == NOTHING:
        pass
    answer = await examiner.text(_with_picture(rng.choice(WHAT), picture))
    right = picture.colour in answer.split(".")[0].split() and picture.shape in answer
    return Outcome(right, 1, f"{picture.colour} {picture.shape}", answer)


async def api_questions(examiner: Examiner, rng: Draw) -> Outcome:
    """Questions about this API, worded as never in training; the answer must hold the key facts."""
    fact = rng.choice(FACTS)
    question = vary(rng, rng.choice(fact.kept))
    answer = await examiner.text(question)
    return Outcome(fact.holds(answer), 1, question, answer)


async def identity(examiner: Examiner, rng: Draw) -> Outcome:
    """It says what it is."""
    question = vary(rng, rng.choice(WHO.kept))
    answer = await examiner.text(question)
    return Outcome(WHO.holds(answer), 1, question, answer)


async def verses(examiner: Examiner, rng: Draw) -> Outcome:
    """A haiku has three lines."""
    question = str(haiku(rng)[0]["content"])
    answer = await examiner.text(question)
    lines = [line for line in answer.split("\n") if line.strip()]
    return Outcome(len(lines) == 3 and all(len(line.split()) <= 8 for line in lines), 1, question, answer)


async def unknown_topics(examiner: Examiner, rng: Draw) -> Outcome:
    """What it does not know it says so about, in a few words."""
    question, answer = "", ""
    while not any(phrase in answer for phrase in HONEST):
        question, answer = (str(message["content"]) for message in unknown(rng))
    given = await examiner.text(question)
    return Outcome(any(phrase in given for phrase in HONEST), 1, question, given)


def _with_picture(question: str, picture: Picture) -> list[dict[str, Any]]:
    file = io.BytesIO()
    picture.image.save(file, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": uri}}]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


Skill = Callable[[Examiner, Draw], Awaitable[Outcome]]
# Name, how it is scored, the share that is asked for (none: only reported).
SKILLS: list[tuple[str, Skill, float | None]] = [
    ("right tool and exact arguments", tools, 0.90),
    ("tool's result used in the answer", tool_results, 0.90),
    ("JSON fields to a schema", json_fields, 0.90),
    ("free text in JSON ends by itself", free_text, 0.95),
    ("colour and shape of a picture", pictures, 0.95),
    ("questions about the API, by key facts", api_questions, 0.85),
    ("says what it is", identity, None),
    ("haiku of three lines", verses, None),
    ("honest about unknown topics", unknown_topics, None),
]


async def score(examiner: Examiner, skill: Skill, count: int, seed: int) -> list[Outcome]:
    """So many questions of one skill, several at once."""
    return list(await asyncio.gather(*(skill(examiner, Draw(seed + n, held_out=True)) for n in range(count))))


def _row(name: str, outcomes: list[Outcome], goal: float | None) -> str:
    points, of = sum(o.points for o in outcomes), sum(o.of for o in outcomes)
    return f"| {name} | {len(outcomes)} | {points / of:.1%} | {'' if goal is None else f'{goal:.0%}'} |"


async def examine(arguments: argparse.Namespace) -> bool:
    """Print the table; whether every goal was reached."""
    key = os.environ.get("MUHGPT_API_KEY", "")
    client = AsyncOpenAI(base_url=arguments.base_url, api_key=key, timeout=TIMEOUT, max_retries=8)
    examiner = Examiner(client, arguments.model, arguments.at_once)
    print("| skill | questions | right | goal |\n|---|---|---|---|")
    reached = True
    for name, skill, goal in SKILLS:
        if arguments.only and arguments.only not in name:
            continue
        outcomes = await score(examiner, skill, arguments.count, arguments.seed)
        print(_row(name, outcomes, goal), flush=True)
        reached &= goal is None or sum(o.points for o in outcomes) >= goal * sum(o.of for o in outcomes)
        for wrong in [o for o in outcomes if o.points < o.of][: arguments.failures]:
            print(f"    {wrong.asked!r}\n    -> {wrong.answered!r}", file=sys.stderr)
    return reached


def main() -> None:
    """Score the skills of a model that a platform serves, with the key in MUHGPT_API_KEY. Exit 1: a goal was missed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="muh-chat")
    parser.add_argument("--count", type=int, default=300, help="questions a skill")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--only", default="", help="skills with this in their name")
    parser.add_argument("--failures", type=int, default=0, help="show so many wrong answers a skill")
    sys.exit(0 if asyncio.run(examine(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
