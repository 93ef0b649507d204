"""Reading the model list. A file that is wrong is refused whole, with file, line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from common.model_list.entries import ModelEntry, ModelList, Price, Target, UpstreamTarget
from common.model_list.nodes import A_NAME, NAME, Nodes, shown
from common.model_list.targets import MOST_CONTEXT, OF_ONE_TARGET, TargetReader
from servicekit.errors import StartupError

SHIPPED = Path(__file__).parents[1] / "models.yaml"
ABILITIES = frozenset({"tools", "vision", "json"})
MOST_CREDITS = 10**12  # for a million tokens: keeps every product of tokens and price inside 64 bits
MAX_BYTES = 256 * 1024  # of a list: the parser takes seconds for more
OF_A_MODEL = {"context_length", "abilities", "price", "aliases", "targets"}


def load_model_list(path: Path | None) -> ModelList:
    """Reads a model list; None: the one that comes with the project. Raises StartupError with file, line and field."""
    path = path or SHIPPED
    try:
        with path.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise StartupError(f"cannot read the model list {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise StartupError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
    return parse_model_list(text, path)


def parse_model_list(text: str, path: Path) -> ModelList:
    """Reads the text of a model list. `path`: where it stands or will stand; files are relative to it, and errors name
    it. Raises StartupError with file, line and field."""
    if len(text.encode()) > MAX_BYTES:
        raise StartupError(f"{path}: the file is larger than {MAX_BYTES // 1024} KiB")
    try:
        node = yaml.compose(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise StartupError(f"{path}{line}: not YAML: {shown(getattr(error, 'problem', None) or error)}") from None
    except RecursionError:
        raise StartupError(f"{path}: not a model list: it is nested too deep") from None
    except (ValueError, OverflowError):  # escapes and version numbers that stand for nothing
        raise StartupError(f"{path}: not YAML: a number in it is out of range") from None
    return _Reader(path).read(node)


class _Reader:
    """Walks the YAML nodes, which know their lines."""

    def __init__(self, path: Path) -> None:
        self._nodes = Nodes(path)
        self._targets = TargetReader(self._nodes)

    def read(self, node: Any) -> ModelList:
        path = self._nodes.path
        if node is None:
            raise StartupError(f"{path}: the file is empty; it needs a mapping `models:`")
        top = dict(self._nodes.items(node, "the file", {"models", "aliases"}))
        if "models" not in top:
            raise StartupError(f"{path}: it needs a mapping `models:`")
        models: dict[str, ModelEntry] = {}
        taken: dict[str, str] = {}
        for name, value in self._nodes.items(top["models"], "models", None):
            entry = self._entry(name, value)
            for alias in (name, *entry.aliases):
                if alias in taken:
                    self._nodes.fail(value, f"models.{name}", f"the name {alias!r} belongs to {taken[alias]} already")
                taken[alias] = name
            models[name] = entry
        if not models:
            self._nodes.fail(top["models"], "models", "it names no model")
        return ModelList(self._with_aliases(models, taken, top.get("aliases")))

    def _with_aliases(self, models: dict[str, ModelEntry], taken: dict[str, str], node: Any) -> dict[str, ModelEntry]:
        """The models with those names too that stand below `aliases:` and lead to a model over other aliases."""
        if node is None:
            return models
        leads: dict[str, tuple[str, Any]] = {}
        for alias, value in self._nodes.items(node, "aliases", None):
            where = f"aliases.{alias}"
            if not NAME.fullmatch(alias):
                self._nodes.fail(value, where, f"a name is {A_NAME}")
            if alias in taken:
                self._nodes.fail(value, where, f"the name {alias!r} belongs to {taken[alias]} already")
            leads[alias] = (self._nodes.name(value, where), value)
        added: dict[str, list[str]] = {}
        for alias in leads:
            added.setdefault(self._follow(alias, leads, taken), []).append(alias)
        return {
            name: ModelEntry(**{**vars(entry), "aliases": (*entry.aliases, *added.get(name, ()))})
            for name, entry in models.items()
        }

    def _follow(self, alias: str, leads: dict[str, tuple[str, Any]], taken: dict[str, str]) -> str:
        """The canonical id at the end of a chain of aliases."""
        path, node, seen = [alias], leads[alias][1], {alias}
        while (to := leads[path[-1]][0]) not in taken:
            if to in seen:
                self._nodes.fail(node, f"aliases.{alias}", f"leads in a circle: {shown(' → '.join([*path, to]))}")
            if to not in leads:
                self._nodes.fail(leads[path[-1]][1], f"aliases.{path[-1]}", f"there is no model or alias {to!r}")
            path.append(to)
            seen.add(to)
        return taken[to]

    def _entry(self, name: str, node: Any) -> ModelEntry:
        where = f"models.{name}"
        if not NAME.fullmatch(name):
            self._nodes.fail(node, where, f"a name is {A_NAME}")
        fields = dict(self._nodes.items(node, where, OF_A_MODEL | OF_ONE_TARGET))
        if "targets" not in fields:
            self._nodes.needed(node, fields, where, "engine")
        self._nodes.needed(node, fields, where, "context_length", "price")
        length = self._nodes.integer(fields["context_length"], f"{where}.context_length", 64, MOST_CONTEXT)
        targets = self._targets_of(node, fields, where, length)
        return ModelEntry(
            id=name,
            context_length=length,
            abilities=self._abilities(node, fields.get("abilities"), f"{where}.abilities", targets),
            price=self._price(fields["price"], f"{where}.price"),
            aliases=tuple(self._nodes.names(fields.get("aliases"), f"{where}.aliases")),
            targets=targets,
        )

    def _targets_of(self, node: Any, fields: dict[str, Any], where: str, length: int) -> tuple[Target, ...]:
        own = {field: value for field, value in fields.items() if field in OF_ONE_TARGET}
        if "targets" not in fields:
            return (self._targets.read(node, own, where, length),)
        for field, value in own.items():
            self._nodes.fail(value, f"{where}.{field}", "belongs into a target when there are `targets:`")
        return self._targets.read_all(fields["targets"], f"{where}.targets", length)

    def _price(self, node: Any, where: str) -> Price:
        fields = dict(self._nodes.items(node, where, {"input", "output"}))
        self._nodes.needed(node, fields, where, "input", "output")
        input_, output = (
            self._nodes.integer(fields[key], f"{where}.{key}", 0, MOST_CREDITS) for key in ("input", "output")
        )
        return Price(input_, output)

    def _abilities(self, model: Any, node: Any, where: str, targets: tuple[Target, ...]) -> frozenset[str]:
        """Those listed, and vision when every target has a projector: what is embedded needs one to see."""
        abilities = frozenset(self._nodes.names(node, where))
        if wrong := abilities - ABILITIES:
            self._nodes.fail(node, where, f"unknown {', '.join(sorted(wrong))}; known: {', '.join(sorted(ABILITIES))}")
        embedded = [target for target in targets if not isinstance(target, UpstreamTarget)]
        if "vision" in abilities and any(target.projector is None for target in embedded):
            self._nodes.fail(node, where, "vision needs a file in `projector:`")
        sees = len(embedded) == len(targets) and all(target.projector for target in embedded)
        return abilities | {"vision"} if sees else abilities
