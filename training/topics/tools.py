"""Tool calls whose arguments are copied from the question, and answers made from tool results."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import Any

from training.topics import words
from training.topics.known_tools import KNOWN
from training.topics.message import Exchange, Message, assistant, user
from training.topics.tool import Tool, Value, schema
from training.topics.tool_kit import any_tool

Schema = dict[str, Any]


@dataclass(frozen=True)
class Need:
    """A question, the tools on offer, and the call that it needs."""

    question: str
    tools: list[Schema]
    tool: Tool
    name: str
    arguments: dict[str, Value]


def need(rng: random.Random) -> Need:
    """Something that one of the tools on offer can do."""
    tool = KNOWN[0] if rng.random() < 0.06 else any_tool(rng)
    template = rng.choice(tool.questions)
    used = set(re.findall(r"{(\w+)}", template))
    arguments = {a.name: a.make(rng) for a in tool.arguments if a.name in used}
    question = template.format(**arguments)
    name = tool.names[0] if rng.random() < 0.5 else rng.choice(tool.names)
    always = {a.name for a in tool.arguments if all("{" + a.name + "}" in q for q in tool.questions)}
    tools = _offer(rng, schema(rng, tool, name, always), name)
    return Need(_said(rng, question), tools, tool, name, arguments)


def _said(rng: random.Random, question: str) -> str:
    """As people write: a polite word more, a full stop less. Letters stay, since arguments are copied."""
    if rng.random() < 0.06:
        question = rng.choice(["Please: ", "Hi! ", "Hey, ", "Ok. ", "Quick question. "]) + question
    if rng.random() < 0.06:
        question += rng.choice([" Thanks!", " Thank you.", " please"])
    return question


def _offer(rng: random.Random, chosen: Schema, name: str) -> list[Schema]:
    """The chosen tool among up to four others of other names."""
    offered, taken = [chosen], {name}
    for _ in range(rng.choice([0, 0, 1, 1, 2, 2, 3, 4])):
        other = any_tool(rng)
        other_name = rng.choice(other.names)
        alike = {word for taken_name in taken for word in re.split(r"_", taken_name.lower())}
        if alike & set(re.split(r"_", other_name.lower())) - {
            "get",
            "find",
            "show",
            "lookup",
            "fetch",
            "check",
            "read",
        }:
            continue
        taken.add(other_name)
        needed = {a.name for a in other.arguments[:1]}
        offered.append(schema(rng, other, other_name, needed))
    rng.shuffle(offered)
    return offered


def call_message(name: str, *each: dict[str, Value]) -> Message:
    """The assistant calls a tool, once or several times."""
    calls = [{"type": "function", "function": {"name": name, "arguments": arguments}} for arguments in each]
    return {"role": "assistant", "content": "", "tool_calls": calls}


@dataclass(frozen=True)
class Result:
    """What a tool returned, as text, and answers that use it. `facts` must be in every answer."""

    content: str
    answer: str
    facts: list[str]


def result(rng: random.Random, tool: Tool, arguments: dict[str, Value]) -> Result:
    """A result of the tool and what the model makes of it."""
    if not tool.results or rng.random() < 0.06:
        return _failed(rng)
    values = {name: make(rng) for name, make in tool.results}
    spacing = rng.choice([(",", ":"), (", ", ": ")])
    facts = [_plain(value) for value in values.values()]
    subject = str(next(iter(arguments.values()), ""))
    if {"temperature"} < set(values):
        degrees, sky = facts
        return Result(
            json.dumps(values, separators=spacing), f"It is {sky} in {subject}, with {degrees} degrees.", facts
        )
    parts = [f"the {name.replace('_', ' ')} is {fact}" for name, fact in zip(values, facts, strict=True)]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    answer = f"For {subject}, {listed}." if subject and rng.random() < 0.5 else listed[0].upper() + listed[1:] + "."
    return Result(json.dumps(values, ensure_ascii=False, separators=spacing), answer, facts)


def _plain(value: Value) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


def _failed(rng: random.Random) -> Result:
    reason = rng.choice(["not found", "timeout", "unavailable", "no permission", "no results", "invalid request"])
    content = json.dumps({"error": reason}) if rng.random() < 0.7 else json.dumps({"results": []})
    if reason in content:
        return Result(content, f"That did not work: {reason}.", [reason])
    return Result(content, "I found nothing.", ["nothing"])


def _several(rng: random.Random) -> tuple[Exchange, list[Schema]]:
    """The same question about two or three places at once: parallel calls."""
    tool = rng.choice([KNOWN[0], KNOWN[3]])
    values = [words.place(rng) for _ in range(rng.choice([2, 2, 3]))]
    listed = ", ".join(values[:-1]) + " and " + values[-1]
    question = rng.choice(tool.questions).format(city=listed)
    argument = tool.arguments[0].name
    tools = _offer(rng, schema(rng, tool, tool.names[0], {argument}), tool.names[0])
    calls = call_message(tool.names[0], *({argument: value} for value in values))
    return [{"role": "user", "content": question}, calls], tools


def tool_conversation(rng: random.Random) -> tuple[Exchange, list[Schema]]:
    """A question that needs a tool, the call, and often its result and an answer."""
    if rng.random() < 0.04:
        return _several(rng)
    asked = need(rng)
    exchange = [{"role": "user", "content": asked.question}, call_message(asked.name, asked.arguments)]
    if rng.random() < 0.4:
        returned = result(rng, asked.tool, asked.arguments)
        exchange += [{"role": "tool", "content": returned.content}, assistant(returned.answer)]
        if rng.random() < 0.1:
            exchange += [user(rng, rng.choice(["Thanks!", "Thank you", "ok"])), assistant("You are welcome!")]
    return exchange, asked.tools


def idle_tools(rng: random.Random) -> list[Schema]:
    """Tools that the conversation will not need."""
    tool = any_tool(rng)
    return _offer(rng, schema(rng, tool, tool.names[0], set()), tool.names[0])
