"""Tool calls whose arguments are copied from the question, and answers made from tool results."""

from __future__ import annotations

import json
import random
from typing import Any

from training.topics.message import Exchange, Message, assistant, user
from training.topics.words import TOPICS, person, place

Tool = dict[str, Any]
# Name, description, its one argument, ways to ask, results, and the answer made from a result.
_TOOLS: list[tuple[str, str, str, list[str], str]] = [
    (
        "get_weather",
        "Get the weather in a city",
        "city",
        [
            "Weather in {}?",
            "What is the weather in {}?",
            "How is the weather in {}?",
            "Is it raining in {}?",
            "What's the weather like in {}?",
            "Tell me the weather in {}.",
            "weather {}",
            "Will I need a coat in {}?",
        ],
        "place",
    ),
    (
        "get_time",
        "Get the local time in a city",
        "city",
        ["What time is it in {}?", "Time in {}?", "Tell me the time in {}.", "What is the local time in {}?"],
        "place",
    ),
    (
        "search",
        "Search the web",
        "query",
        ["Search for {}.", "Look up {}.", "Find something about {}.", "Search the web for {}", "What is {}?"],
        "topic",
    ),
    (
        "get_user",
        "Find a user by name",
        "name",
        ["Find the user {}.", "Who is {}?", "Look up {}.", "Show me the account of {}."],
        "person",
    ),
    (
        "send_message",
        "Send a message to a person",
        "to",
        ["Send a message to {}.", "Write to {}.", "Message {} please."],
        "person",
    ),
    (
        "get_population",
        "Number of people in a city",
        "city",
        ["How many people live in {}?", "Population of {}?", "How big is {}?"],
        "place",
    ),
]
_SKIES = ["sunny", "cloudy", "rainy", "windy", "foggy", "clear"]


def _value(rng: random.Random, kind: str) -> str:
    return {"place": place, "person": person, "topic": lambda r: r.choice(TOPICS)}[kind](rng)


def _schema(rng: random.Random, name: str, description: str, argument: str) -> Tool:
    """The tool as a client sends it, with or without the optional parts."""
    field: dict[str, str] = {"type": "string"}
    if rng.random() < 0.2:
        field["description"] = f"The {argument}"
    parameters = {"type": "object", "properties": {argument: field}, "required": [argument]}
    function: dict[str, Any] = {"name": name}
    if rng.random() < 0.5:
        function["description"] = description
    function["parameters"] = parameters
    return {"type": "function", "function": function}


def _call(name: str, arguments: dict[str, str]) -> Message:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def _result(rng: random.Random, name: str, value: str) -> tuple[dict[str, Any], str]:
    """What the tool returns, and what the model makes of it."""
    if name == "get_weather":
        degrees, sky = rng.randint(-9, 39), rng.choice(_SKIES)
        key = rng.choice(["temperature", "temp_c", "degrees"])
        sky_key = rng.choice(["sky", "conditions", "weather"])
        return {key: degrees, sky_key: sky}, f"It is {sky} in {value}, with {degrees} degrees."
    if name == "get_time":
        clock = f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
        return {"time": clock}, f"It is {clock} in {value}."
    if name == "get_population":
        people = rng.randint(1, 999) * 10_000
        return {"population": people}, f"{value} has {people} people."
    if name == "send_message":
        return {"status": "sent"}, f"Your message to {value} was sent."
    if name == "get_user":
        credits = rng.randint(0, 9999)
        return {"name": value, "credits": credits}, f"{value} has {credits} credits."
    return {"results": []}, f"I found nothing about {value}."


def _offer(rng: random.Random, chosen: tuple[str, str, str, list[str], str]) -> list[Tool]:
    """The chosen tool among up to two others."""
    others = rng.sample([t for t in _TOOLS if t is not chosen], rng.choice([0, 0, 1, 2]))
    offered = [_schema(rng, *t[:3]) for t in [chosen, *others]]
    rng.shuffle(offered)
    return offered


def tool_conversation(rng: random.Random) -> tuple[Exchange, list[Tool]]:
    """A question that needs a tool, the call, and half the time its result and an answer."""
    chosen = rng.choice(_TOOLS) if rng.random() < 0.6 else _TOOLS[0]
    name, _, argument, questions, kind = chosen
    value = _value(rng, kind)
    exchange = [user(rng, rng.choice(questions).format(value), exact=True), _call(name, {argument: value})]
    if rng.random() < 0.5:
        result, answer = _result(rng, name, value)
        spacing = rng.choice([(",", ":"), (", ", ": ")])
        exchange += [{"role": "tool", "content": json.dumps(result, separators=spacing)}, assistant(answer)]
    return exchange, _offer(rng, chosen)


def idle_tools(rng: random.Random) -> list[Tool]:
    """Tools that the conversation will not need."""
    return _offer(rng, rng.choice(_TOOLS))
