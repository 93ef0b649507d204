"""A model list as YAML: plain values for the checks, and lines for errors, which name file, line and field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from servicekit.errors import StartupError

MAX_SHOWN = 300  # characters of a file's own text in an error
TAG = "="  # begins those parts of a location that name an arm of a union, and no field
Location = Sequence[str | int]


def shown(text: object) -> str:
    """A file's own text within an error: its first line, cut where it is long."""
    line = str(text).split("\n", 1)[0]
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"


@dataclass(frozen=True)
class Place:
    """Where something stands in the list, for errors that are found later: "models.yaml:7: models.big.key_env"."""

    text: str

    def error(self, problem: str) -> StartupError:
        """What is wrong with it."""
        return StartupError(f"{self.text}: {problem}")


@dataclass(frozen=True)
class _Found:
    """A node with the lines of its name and its value. `whole`: it is what was looked for, not just above that."""

    node: Any
    key_line: int
    line: int
    whole: bool


class Document:
    """One file. Methods raise StartupError."""

    def __init__(self, text: str, path: Path) -> None:
        self.path = path
        self._root = _compose(text, path)
        self._values: dict[int, Any] = {}

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all."""
        return self._root is None

    def values(self) -> Any:
        """Mappings as dict, lists as list, everything else as the text that stands there."""
        try:
            return self._value(self._root, ())
        except RecursionError:
            raise StartupError(f"{self.path}: not a model list: it is nested too deep") from None

    def place(self, location: Location) -> Place:
        """Where a field stands; of one that is missing, the mapping that should have it."""
        return Place(f"{self.path}:{self._find(location).line}: {where(location)}")

    def key_line(self, location: Location) -> int:
        """The line of a field's name."""
        return self._find(location).key_line

    def line(self, location: Location) -> int:
        """The line of a field's value, or of the mapping that should have it."""
        return self._find(location).line

    def is_mapping(self, location: Location) -> bool:
        """Whether a mapping stands there."""
        return isinstance(self._find(location).node, yaml.MappingNode)

    def needed(self, location: Location) -> str:
        """What is wrong with a text that must be there: it is missing, or something else stands there."""
        return "must be a string" if self._find(location).whole else "is missing"

    def fail(self, location: Location, problem: str, line: int | None = None) -> NoReturn:
        """Raises: file, line, field and what is wrong."""
        at = f"{self.path}:{line or self.line(location)}: {where(location)}"
        raise StartupError(f"{shown(at)}: {shown(problem)}")

    def _find(self, location: Location) -> _Found:
        """The innermost part that exists."""
        node, key_line, whole = self._root, 1, True
        for part in location:
            if isinstance(part, str) and part.startswith(TAG):
                continue
            if isinstance(part, int) and isinstance(node, yaml.SequenceNode) and part < len(node.value):
                node = node.value[part]
                key_line = node.start_mark.line + 1
            elif isinstance(node, yaml.MappingNode) and (pair := _member(node, part)) is not None:
                key_line, node = pair[0].start_mark.line + 1, pair[1]
            else:
                whole = False
                break
        return _Found(node, key_line, node.start_mark.line + 1 if node is not None else 1, whole)

    def _value(self, node: Any, location: tuple[str | int, ...]) -> Any:
        """Each node once, whatever refers to it: aliases of aliases would grow without end."""
        if id(node) in self._values:
            return self._values[id(node)]
        if isinstance(node, yaml.MappingNode):
            mapping = self._values[id(node)] = {}
            for key, value in node.value:
                name = self._key(key, mapping, location)
                mapping[name] = None  # seen
                mapping[name] = self._value(value, (*location, name))
            return mapping
        if isinstance(node, yaml.SequenceNode):
            items: list[Any] = []
            self._values[id(node)] = items
            items.extend(self._value(item, (*location, index)) for index, item in enumerate(node.value))
            return items
        return node.value

    def _key(self, key: Any, seen: Iterable[str], location: tuple[str | int, ...]) -> str:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            self.fail(location, "a field's name must be a string", line)
        if key.value in seen:
            self.fail((*location, key.value), "stands twice", line)
        return str(key.value)


def where(location: Location) -> str:
    """A location as errors show it: "models.big.targets[0].weight"."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not part.startswith(TAG):
            text += f".{part}" if text else part
    known_root = text.partition(".")[0].partition("[")[0] in ("models", "aliases")
    return text if known_root else f"the file.{text}" if text else "the file"


def _member(node: yaml.MappingNode, name: str | int) -> tuple[Any, Any] | None:
    return next(((key, value) for key, value in node.value if key.value == name), None)


def _compose(text: str, path: Path) -> Any:
    try:
        return yaml.compose(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise StartupError(f"{path}{line}: not YAML: {shown(getattr(error, 'problem', None) or error)}") from None
    except RecursionError:
        raise StartupError(f"{path}: not a model list: it is nested too deep") from None
    except (ValueError, OverflowError):  # escapes and version numbers that stand for nothing
        raise StartupError(f"{path}: not YAML: a number in it is out of range") from None
