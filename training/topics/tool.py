"""What a tool is: its names, its arguments and how their values are made, its questions and results."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from training.topics import words

Value = str | int | float
Maker = Callable[[random.Random], Value]
ENUMS: dict[str, list[str]] = {
    "unit": ["celsius", "fahrenheit"],
    "class": ["economy", "business", "first"],
    "priority": ["low", "normal", "high"],
    "language": ["English", "German", "French", "Spanish", "Portuguese", "Italian"],
    "currency": ["EUR", "USD", "GBP", "JPY", "CHF"],
    "size": ["small", "medium", "large"],
    "room": ["kitchen", "bedroom", "bathroom", "office", "garage"],
}


@dataclass(frozen=True)
class Argument:
    """One argument: its name, JSON type, and how its values are made. `choices`: the schema lists them."""

    name: str
    type: str
    make: Maker
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool with ways to ask for it; `{argument}` stands for a value. What some question leaves out is optional."""

    names: tuple[str, ...]
    description: str
    arguments: tuple[Argument, ...]
    questions: tuple[str, ...]
    results: tuple[tuple[str, Maker], ...] = field(default=())


def text(name: str, make: Maker) -> Argument:
    """An argument that is a string."""
    return Argument(name, "string", make)


def chosen(name: str, kind: str = "") -> Argument:
    """An argument that takes one of ENUMS' lists, the one of its own name if no `kind` is given."""
    values = ENUMS[kind or name]
    return Argument(name, "string", lambda r: r.choice(values), tuple(values))


def whole(name: str, make: Maker = words.whole) -> Argument:
    """An argument that is a whole number."""
    return Argument(name, "integer", make)


def schema(rng: random.Random, tool: Tool, name: str, needed: set[str]) -> dict[str, Any]:
    """The tool as a client sends it, with or without the optional parts. `needed`: arguments that must be required."""
    properties: dict[str, Any] = {}
    for argument in tool.arguments:
        properties[argument.name] = {"type": argument.type}
        if argument.choices:
            properties[argument.name]["enum"] = list(argument.choices)
    required = [a.name for a in tool.arguments if a.name in needed]
    function: dict[str, Any] = {"name": name}
    if rng.random() < 0.6:
        function["description"] = tool.description
    function["parameters"] = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": function}
