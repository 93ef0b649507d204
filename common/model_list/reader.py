"""Reading the model list. A file that is wrong is refused whole, with file, line and field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from common.model_list.document import Document, shown
from common.model_list.engines.target import EngineEntry, Surroundings, Target
from common.model_list.entries import ModelEntry, ModelList, Price
from common.model_list.fields import A_NAME, is_name
from common.model_list.mistakes import fail
from common.model_list.schema import ListFields, ModelFields, ModelWithTargets
from servicekit.errors import StartupError

SHIPPED = Path(__file__).parents[1] / "models.yaml"
MAX_BYTES = 256 * 1024  # of a list: the parser takes seconds for more


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
    document = Document(text, path)
    if document.empty:
        raise StartupError(f"{path}: the file is empty; it needs a mapping `models:`")
    try:
        fields = ListFields.model_validate(document.values())
    except ValidationError as found:
        fail(document, found)
    return _Reader(document).read(fields)


class _Reader:
    """What no field can check alone: names of the whole list, abilities and targets of a model."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def read(self, fields: ListFields) -> ModelList:
        """The list. Raises StartupError."""
        models: dict[str, ModelEntry] = {}
        taken: dict[str, str] = {}
        for name, of_model in fields.models.items():
            entry = self._entry(name, of_model)
            for alias in (name, *entry.aliases):
                if alias in taken:
                    self._document.fail(("models", name), f"the name {alias!r} belongs to {taken[alias]} already")
                taken[alias] = name
            models[name] = entry
        if not models:
            self._document.fail(("models",), "it names no model")
        return ModelList(self._with_aliases(models, taken, fields.aliases))

    def _with_aliases(
        self, models: dict[str, ModelEntry], taken: Mapping[str, str], leads: Mapping[str, str]
    ) -> dict[str, ModelEntry]:
        """The models with those names too that stand below `aliases:` and lead to a model over other aliases."""
        for alias in leads:
            if not is_name(alias):
                self._document.fail(("aliases", alias), f"a name is {A_NAME}")
            if alias in taken:
                self._document.fail(("aliases", alias), f"the name {alias!r} belongs to {taken[alias]} already")
        added: dict[str, list[str]] = {}
        for alias in leads:
            added.setdefault(self._follow(alias, leads, taken), []).append(alias)
        return {name: replace(entry, aliases=(*entry.aliases, *added.get(name, ()))) for name, entry in models.items()}

    def _follow(self, alias: str, leads: Mapping[str, str], taken: Mapping[str, str]) -> str:
        """The canonical id at the end of a chain of aliases."""
        path, seen = [alias], {alias}
        while (to := leads[path[-1]]) not in taken:
            if to in seen:
                circle = shown(" → ".join([*path, to]))
                self._document.fail(("aliases", alias), f"leads in a circle: {circle}")
            if to not in leads:
                self._document.fail(("aliases", path[-1]), f"there is no model or alias {to!r}")
            path.append(to)
            seen.add(to)
        return taken[to]

    def _entry(self, name: str, fields: Any) -> ModelEntry:
        if not is_name(name):
            self._document.fail(("models", name), f"a name is {A_NAME}")
        assert isinstance(fields, ModelFields)
        targets = self._targets(name, fields)
        return ModelEntry(
            id=name,
            context_length=fields.context_length,
            abilities=self._abilities(name, fields.abilities, targets),
            price=Price(fields.price.input, fields.price.output),
            aliases=tuple(fields.aliases),
            targets=targets,
        )

    def _targets(self, name: str, fields: ModelFields) -> tuple[Target, ...]:
        if isinstance(fields, ModelWithTargets):
            targets: list[Target] = []
            for index, each in enumerate(fields.targets):
                location = ("models", name, "targets", index)
                target = self._target(each, location, fields.context_length)
                if any(target.name == other.name for other in targets):
                    problem = f"another target is called {target.name!r}; give it a `name:` of its own"
                    self._document.fail((*location, "name"), problem, self._document.line(location))
                targets.append(target)
            return tuple(targets)
        return (self._target(fields, ("models", name), fields.context_length),)

    def _target(self, fields: Any, location: tuple[str | int, ...], context_length: int) -> Target:
        """One target; `context_length` is the model's."""
        assert isinstance(fields, EngineEntry)
        shared = {name: getattr(fields, name) for name in ("weight", "order") if hasattr(fields, name)}
        around = Surroundings(
            folder=self._document.path.parent,
            place=lambda field: self._document.place((*location, field)),
            name=getattr(fields, "name", None),
            context_length=getattr(fields, "context_length", None) or context_length,
            **shared,
        )
        return fields.target(around)

    def _abilities(self, name: str, listed: frozenset[str], targets: tuple[Target, ...]) -> frozenset[str]:
        """Those listed, and vision when every target has a projector: what is embedded needs one for it."""
        embedded = [target.vision for target in targets if target.vision is not None]
        if "vision" in listed and not all(embedded):
            self._document.fail(("models", name, "abilities"), "vision needs a file in `projector:`")
        supports_vision = len(embedded) == len(targets) and all(embedded)
        return listed | {"vision"} if supports_vision else listed
