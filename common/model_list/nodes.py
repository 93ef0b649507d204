"""Walking a YAML file's nodes, which know their lines, so that every error names file, line and field."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from common.model_list.entries import Place
from servicekit.errors import StartupError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
A_NAME = "1 to 100 letters, digits and . _ : / -"


MAX_SHOWN = 300  # characters of a file's own text in an error


def shown(text: object) -> str:
    """A file's own text within an error: its first line, cut where it is long."""
    line = str(text).split("\n", 1)[0]
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"


def is_name(text: str) -> bool:
    """Whether a model can be called so."""
    return NAME.fullmatch(text) is not None


class Nodes:
    """Reads values of one file. Every method raises StartupError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, node: Any, where: str, problem: str) -> NoReturn:
        """Raises: file, line, field and what is wrong."""
        raise StartupError(f"{shown(self.place(node, where).text)}: {shown(problem)}")

    def place(self, node: Any, where: str) -> Place:
        """Where a node stands."""
        return Place(f"{self.path}:{node.start_mark.line + 1}: {where}")

    def items(self, node: Any, where: str, allowed: Collection[str] | None) -> Iterator[tuple[str, Any]]:
        """The members of a mapping. `allowed`: the keys that it may have."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, where, "must be a mapping")
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.fail(key, where, "a field's name must be a string")
            if allowed is not None and key.value not in allowed:
                self.fail(key, f"{where}.{key.value}", f"unknown field; known: {', '.join(sorted(allowed))}")
            if key.value in seen:
                self.fail(key, f"{where}.{key.value}", "stands twice")
            seen.add(key.value)
            yield key.value, value

    def needed(self, node: Any, fields: dict[str, Any], where: str, *names: str) -> None:
        """Fails unless all these fields are there."""
        for name in names:
            if name not in fields:
                self.fail(node, f"{where}.{name}", "is missing")

    def sequence(self, node: Any, where: str) -> list[Any]:
        """The items of a list."""
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, where, "must be a list")
        return list(node.value)

    def names(self, node: Any, where: str) -> list[str]:
        """A list of names; none when the field is absent."""
        return [] if node is None else [self.name(item, where) for item in self.sequence(node, where)]

    def name(self, node: Any, where: str) -> str:
        """A name that clients or errors may use."""
        text = self.string(node, where)
        if not NAME.fullmatch(text):
            self.fail(node, where, f"{text!r} is not a name: {A_NAME}")
        return text

    def string(self, node: Any, where: str) -> str:
        """A text that is not empty."""
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            self.fail(node, where, "must be a string")
        return str(node.value)

    def one_of(self, node: Any, where: str, known: Collection[str]) -> str:
        """One of a few words."""
        text = self.string(node, where)
        if text not in known:
            self.fail(node, where, f"unknown {text!r}; known: {', '.join(known)}")
        return text

    def integer(self, node: Any, where: str, least: int, most: int) -> int:
        """A whole number within bounds."""
        if not isinstance(node, yaml.ScalarNode) or not re.fullmatch(r"\d{1,18}", node.value):
            self.fail(node, where, "must be a whole number, 0 or more")
        value = int(node.value)
        if not least <= value <= most:
            self.fail(node, where, f"must be {least} to {most}, not {value}")
        return value

    def seconds(self, node: Any, where: str, most: float) -> float:
        """A time above 0."""
        if not isinstance(node, yaml.ScalarNode) or not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", node.value):
            self.fail(node, where, "must be a number of seconds")
        value = float(node.value)
        if not 0 < value <= most:
            self.fail(node, where, f"must be above 0 and at most {most:g} seconds, not {node.value}")
        return value
