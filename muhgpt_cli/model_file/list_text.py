"""Changing a model list as its text, so that comments, order and spelling stay as the operator wrote them.

A YAML library that writes what it has read keeps comments, but not where they belong: what stands above `aliases:` ends
up above the new entry. So PyYAML tells where each value begins and ends, and only those places change.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

PLAIN = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_/.+-]*")
# What YAML 1.1 reads as something else than text.
NO_TEXT = re.compile(r"(?i)(y|n|yes|no|on|off|true|false|null|~|[-+.0-9][0-9_.,:e+-]*)")


@dataclass(frozen=True)
class Place:
    """A field of an entry: where its key begins, its value begins, and its value ends."""

    key: int
    start: int
    end: int
    node: Any


class ListText:
    """The text of a list that the reader has found right. Methods return the new text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._models = _field(yaml.compose(text), "models")

    def entry(self, name: str) -> Any:
        """The node of a model, None when there is none."""
        found = _field(self._models.node, name)
        return found.node if found else None

    def line(self, name: str) -> int:
        """The line, from 1, in which a model stands."""
        return self.text.count("\n", 0, _field(self._models.node, name).key) + 1

    def added(self, name: str, fields: dict[str, str]) -> str:
        """With one more model, the first. `fields` are texts of YAML."""
        if self._models.node.flow_style:
            inside = ", ".join(f"{field}: {value}" for field, value in fields.items())
            return self._inserted(self._models.start + 1, f"{scalar(name)}: {{{inside}}}, ")
        first = self._models.node.value[0][0].start_mark
        block = "".join(f"{' ' * first.column}{line}\n" for line in entry_lines(name, fields))
        # Right below `models:`, so that what stands above the first entry stays with it.
        return self._inserted(_next_line(self.text, self._models.key), block)

    def changed(self, name: str, fields: dict[str, str | None]) -> str:
        """With other values for these fields of a model; None takes a field away. They are handled from the last on, so
        that the places before stay true."""
        text = self.text
        for field, value in fields.items():
            text = ListText(text).with_field(name, field, value)
        return text

    def with_field(self, name: str, field: str, value: str | None) -> str:
        """With one field's value; None takes the field away."""
        entry = self.entry(name)
        place = _field(entry, field)
        if place is None:
            return self.text if value is None else self._with_new(entry, field, value)
        if value is not None:
            return self.text[: place.start] + value + self.text[place.end :]
        if entry.flow_style:
            return self.text[: place.key] + re.sub(r"^\s*,\s*", "", self.text[place.end :])
        return self.text[: _line_start(self.text, place.key)] + self.text[_next_line(self.text, place.end) :]

    def _with_new(self, entry: Any, field: str, value: str) -> str:
        """Below the entry's first field."""
        key, first = entry.value[0]
        if entry.flow_style:
            return self._inserted(_end(first), f", {field}: {value}")
        line = f"{' ' * key.start_mark.column}{field}: {value}\n"
        return self._inserted(_next_line(self.text, _end(first)), line)

    def _inserted(self, at: int, more: str) -> str:
        before = self.text[:at]
        gap = "\n" if before and more.endswith("\n") and not before.endswith("\n") else ""
        more = gap + more
        return before + (more.replace("\n", "\r\n") if "\r\n" in self.text else more) + self.text[at:]


def entry_lines(name: str, fields: dict[str, str]) -> list[str]:
    """A model as lines of YAML, without the indentation of where it stands."""
    return [f"{scalar(name)}:", *(f"  {field}: {value}" for field, value in fields.items())]


def scalar(text: str) -> str:
    """A text as YAML: as it is where YAML reads it so, in quotation marks elsewhere."""
    plain = PLAIN.fullmatch(text) and not NO_TEXT.fullmatch(text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def sequence(texts: list[str] | tuple[str, ...]) -> str:
    """Texts as a YAML list on one line."""
    return f"[{', '.join(scalar(text) for text in texts)}]"


def _field(mapping: Any, name: str) -> Any:
    for key, value in mapping.value:
        if key.value == name:
            return Place(key.start_mark.index, value.start_mark.index, _end(value), value)
    return None


def _end(node: Any) -> int:
    """Where a value's own text ends. PyYAML lets a block end where the next thing begins, behind comments."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _next_line(text: str, at: int) -> int:
    """Where the line after that of a place begins."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1
