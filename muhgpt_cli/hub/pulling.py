"""A model from the hub to its place in the model list: chosen, fetched, read, listed."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from common.model_list import A_NAME, ModelEntry, is_name
from muhgpt_cli.errors import CliError
from muhgpt_cli.hub import choosing
from muhgpt_cli.hub.client import Hub, RemoteFile, Repository
from muhgpt_cli.hub.download import Downloader, check_known
from muhgpt_cli.hub.meter import Meter
from muhgpt_cli.model_file.list_file import ListFile, PulledModel
from muhgpt_cli.model_file.traits import Traits, read_traits, sees


@dataclass(frozen=True)
class Wanted:
    """What the command line asked for."""

    repository: str
    file: str
    revision: str
    alias: str | None
    projector: bool
    context: int | None
    input_price: int | None
    output_price: int | None


@dataclass(frozen=True)
class Pulled:
    """What was done."""

    entry: ModelEntry
    traits: Traits
    source: str
    commit: str
    fetched: int  # bytes
    changed: bool  # the list
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What will be fetched, and under which name it will be listed."""

    repository: Repository
    model: choosing.Choice
    projector: RemoteFile | None
    name: str

    @property
    def files(self) -> list[RemoteFile]:
        """The model's parts, then the projector."""
        return [*self.model.files, *([self.projector] if self.projector else [])]


def pull_model(hub: Hub, wanted: Wanted, path: Path, meter: Callable[[], AbstractContextManager[Meter]]) -> Pulled:
    """Fetches what is not here yet and puts it into the list at `path`. Raises CliError, and Interrupted."""
    plan = _plan(hub, wanted)
    _make_folder(path.parent)
    listed = ListFile(path)
    with meter() as shown:
        downloader = Downloader(hub, plan.repository, listed.path.parent / "models" / plan.repository.id, shown)
        places = _fetch(downloader, plan, listed, replace=wanted.alias is not None)
    traits = read_traits(places[0])
    notes = _notes(traits, wanted)
    projector = places[-1] if plan.projector else None
    if plan.projector is not None and not sees(places[-1]):
        notes.append(f"{plan.projector.name} is a projector for sound, which is not used")
        projector = None
    model = _listed_model(wanted, plan.name, places[0], projector, traits)
    entry, changed = listed.put(model, replace=wanted.alias is not None)
    source = f"{plan.repository.id}:{plan.model.name}"
    return Pulled(entry, traits, source, plan.repository.commit, downloader.fetched, changed, tuple(notes))


def _plan(hub: Hub, wanted: Wanted) -> Plan:
    if wanted.alias is not None and not is_name(wanted.alias):
        raise CliError(f"{wanted.alias!r} is not a name of a model: {A_NAME}")
    repository = hub.repository(wanted.repository, wanted.revision)
    model = choosing.choose(repository, wanted.file)
    projector = choosing.projector(repository, model) if wanted.projector else None
    plan = Plan(repository, model, projector, wanted.alias or _name_of(model))
    for file in plan.files:
        check_known(file)
    return plan


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CliError(f"cannot make {folder}: {error.strerror}; choose another with --data-dir") from None


def _fetch(downloader: Downloader, plan: Plan, listed: ListFile, *, replace: bool) -> list[Path]:
    """The files' places, once they are there; what cannot be listed is not fetched."""
    places = [downloader.place(file) for file in plan.files]
    listed.check(plan.name, places[0], replace=replace)
    downloader.check_space(plan.files)
    for file in plan.files:
        downloader.fetch(file)
    return places


def _listed_model(wanted: Wanted, name: str, file: Path, projector: Path | None, traits: Traits) -> PulledModel:
    return PulledModel(
        name=name,
        file=file,
        projector=projector,
        trained_context=traits.trained_context,
        abilities=("tools", "json") if traits.calls_tools else ("json",),
        context=wanted.context,
        input_price=wanted.input_price,
        output_price=wanted.output_price,
    )


def _name_of(choice: choosing.Choice) -> str:
    """A file's name as clients can say it."""
    stem = choice.name.rpartition("/")[2][: -len(".gguf")]
    return re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9._-]", "-", stem))[:100] or "model"


def _notes(traits: Traits, wanted: Wanted) -> list[str]:
    """What the operator should know. Raises CliError for a context that the model was not made for."""
    if wanted.context is not None and wanted.context > traits.trained_context:
        raise CliError(f"the model was trained for {traits.trained_context:,} tokens of context; lower --context")
    if not traits.has_template:
        return ["the file has no chat template, so it is hardly a model for chats; a usual one is taken"]
    return []
