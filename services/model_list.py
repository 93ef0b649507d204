"""The model list: one file that inference reads for engines and quota for prices.

A file that is wrong is refused whole, with file, line and field, before anything starts to serve.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from servicekit.errors import StartupError

SHIPPED = Path(__file__).with_name("models.yaml")
DEFAULT_FILE = Path(__file__).parent / "inference" / "default_model" / "muh-small.gguf"
ENGINES = ("llama",)
ABILITIES = frozenset({"tools", "vision", "json"})
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
MOST_CREDITS = 10**12  # for a million tokens: keeps every product of tokens and price inside 64 bits
FIELDS = {"engine", "file", "projector", "context_length", "abilities", "price", "aliases"}


@dataclass(frozen=True)
class Price:
    """Credits for a million tokens."""

    input: int
    output: int


@dataclass(frozen=True)
class ModelEntry:
    """One model. `id` is canonical: charges and usage name it."""

    id: str
    engine: str
    file: Path | None
    context_length: int  # tokens, prompt and answer together
    abilities: frozenset[str]
    price: Price
    aliases: tuple[str, ...]
    projector: Path | None = None  # what turns pictures into the model's own language


@dataclass(frozen=True)
class ModelList:
    """All models, by canonical id, and the names that clients may use."""

    models: dict[str, ModelEntry]

    def resolve(self, alias: str) -> ModelEntry | None:
        """The model that a client's name stands for."""
        return self.models.get(self.names().get(alias, ""))

    def names(self) -> dict[str, str]:
        """Every name that clients may use, with its canonical id; canonical ids first."""
        names = {model: model for model in self.models}
        names.update({alias: entry.id for entry in self.models.values() for alias in entry.aliases})
        return names


def load_model_list(path: Path | None) -> ModelList:
    """Reads a model list; None: the one that comes with the project. Raises StartupError with file, line and field."""
    path = path or SHIPPED
    try:
        text = path.read_text()
    except OSError as error:
        raise StartupError(f"cannot read the model list {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise StartupError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
    try:
        node = yaml.compose(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise StartupError(f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from None
    return _Reader(path).read(node)


class _Reader:
    """Walks the YAML nodes, which know their lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, node: Any) -> ModelList:
        if node is None:
            raise StartupError(f"{self._path}: the file is empty; it needs a mapping `models:`")
        top = dict(self._items(node, "the file", {"models"}))
        if "models" not in top:
            raise StartupError(f"{self._path}: it needs a mapping `models:`")
        models = {}
        taken: dict[str, str] = {}
        for name, value in self._items(top["models"], "models", None):
            entry = self._entry(name, value)
            for alias in (name, *entry.aliases):
                if alias in taken:
                    self._fail(value, f"models.{name}", f"the name {alias!r} belongs to {taken[alias]} already")
                taken[alias] = name
            models[name] = entry
        if not models:
            self._fail(top["models"], "models", "it names no model")
        return ModelList(models)

    def _entry(self, name: str, node: Any) -> ModelEntry:
        where = f"models.{name}"
        if not NAME.fullmatch(name):
            self._fail(node, where, "a name is 1 to 100 letters, digits and . _ : / -")
        fields = dict(self._items(node, where, FIELDS))
        for needed in ("engine", "context_length", "price"):
            if needed not in fields:
                self._fail(node, f"{where}.{needed}", "is missing")
        engine = self._string(fields["engine"], f"{where}.engine")
        if engine not in ENGINES:
            self._fail(fields["engine"], f"{where}.engine", f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")
        projector = self._file(fields.get("projector"), f"{where}.projector")
        return ModelEntry(
            id=name,
            engine=engine,
            file=self._file(fields.get("file"), f"{where}.file"),
            context_length=self._integer(fields["context_length"], f"{where}.context_length", 64, 10_000_000),
            abilities=self._abilities(fields.get("abilities"), f"{where}.abilities", sees=projector is not None),
            price=self._price(fields["price"], f"{where}.price"),
            aliases=tuple(self._strings(fields.get("aliases"), f"{where}.aliases")),
            projector=projector,
        )

    def _file(self, node: Any, where: str) -> Path | None:
        if node is None:
            return None
        text = self._string(node, where)
        if text == "default" and where.endswith(".file"):
            return DEFAULT_FILE
        return (self._path.parent / text).resolve()

    def _price(self, node: Any, where: str) -> Price:
        fields = dict(self._items(node, where, {"input", "output"}))
        for needed in ("input", "output"):
            if needed not in fields:
                self._fail(node, f"{where}.{needed}", "is missing")
        return Price(*(self._integer(fields[key], f"{where}.{key}", 0, MOST_CREDITS) for key in ("input", "output")))

    def _abilities(self, node: Any, where: str, *, sees: bool) -> frozenset[str]:
        """Those listed, and vision with a projector: it is what vision takes, and all that it takes."""
        abilities = frozenset(self._strings(node, where))
        if wrong := abilities - ABILITIES:
            self._fail(node, where, f"unknown {', '.join(sorted(wrong))}; known: {', '.join(sorted(ABILITIES))}")
        if "vision" in abilities and not sees:
            self._fail(node, where, "vision needs a file in `projector:`")
        return abilities | {"vision"} if sees else abilities

    def _items(self, node: Any, where: str, allowed: set[str] | None) -> Iterator[tuple[str, Any]]:
        if not isinstance(node, yaml.MappingNode):
            self._fail(node, where, "must be a mapping")
        seen = set()
        for key, value in node.value:
            if allowed is not None and key.value not in allowed:
                self._fail(key, f"{where}.{key.value}", f"unknown field; known: {', '.join(sorted(allowed))}")
            if key.value in seen:
                self._fail(key, f"{where}.{key.value}", "stands twice")
            seen.add(key.value)
            yield key.value, value

    def _strings(self, node: Any, where: str) -> list[str]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._fail(node, where, "must be a list")
        strings = [self._string(item, where) for item in node.value]
        for item, text in zip(node.value, strings, strict=True):
            if not NAME.fullmatch(text):
                self._fail(item, where, f"{text!r} is not a name: 1 to 100 letters, digits and . _ : / -")
        return strings

    def _string(self, node: Any, where: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            self._fail(node, where, "must be a string")
        return str(node.value)

    def _integer(self, node: Any, where: str, least: int, most: int) -> int:
        if not isinstance(node, yaml.ScalarNode) or not re.fullmatch(r"\d{1,18}", node.value):
            self._fail(node, where, "must be a whole number, 0 or more")
        value = int(node.value)
        if not least <= value <= most:
            self._fail(node, where, f"must be {least} to {most}, not {value}")
        return value

    def _fail(self, node: Any, where: str, problem: str) -> None:
        raise StartupError(f"{self._path}:{node.start_mark.line + 1}: {where}: {problem}")
