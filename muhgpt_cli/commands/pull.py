"""`muhgpt models pull`: a GGUF from the hub, its checksum proved, behind a name of the model list."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from common.model_list import A_NAME, LlamaTarget, ModelEntry, is_name
from muhgpt_cli import output
from muhgpt_cli.errors import CliError
from muhgpt_cli.hub import choosing
from muhgpt_cli.hub.client import Hub, Interrupted, parse_repository
from muhgpt_cli.hub.download import Downloader, check_known
from muhgpt_cli.hub.meter import Meter
from muhgpt_cli.local.data_dir import DataDir as DataFolder
from muhgpt_cli.model_file.list_file import ListFile, PulledModel
from muhgpt_cli.model_file.traits import Traits, read_traits, sees
from muhgpt_cli.options import DataDir, Json, examples
from muhgpt_cli.system import DEFAULT_DATA_DIR, alive

MOST_PRICE = 10**12
MOST_CONTEXT = 10_000_000
SLOTS = 4  # answers at once that inference keeps memory for (MUHGPT_INFERENCE_LLAMA_SLOTS)

EPILOG = examples(
    "muhgpt models pull Qwen/Qwen2.5-1.5B-Instruct-GGUF --alias muh-chat",
    "muhgpt models pull Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q8_0 --alias better",
    "muhgpt models pull Qwen/Qwen2.5-1.5B-Instruct-GGUF --list",
)


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


def pull(
    model: Annotated[
        str,
        typer.Argument(
            metavar="ORG/NAME[:FILE]",
            help="Repository of the hub, and of its files one, or a quantization such as Q8_0.",
            show_default=False,
        ),
    ],
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias",
            metavar="NAME",
            help="What clients call it; a model of this name gets the new file. Default: the file's name.",
            show_default=False,
        ),
    ] = None,
    no_projector: Annotated[
        bool, typer.Option("--no-projector", help="Leave the projector, which gives vision, where it is.")
    ] = False,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            metavar="N",
            min=64,
            max=MOST_CONTEXT,
            help="Tokens of context. Default: what the model was trained for, at most 8192.",
            show_default=False,
        ),
    ] = None,
    input_price: Annotated[
        int | None,
        typer.Option(
            "--input-price",
            metavar="N",
            min=0,
            max=MOST_PRICE,
            help="Credits for a million input tokens. Default: what stands there, else 1000000.",
            show_default=False,
        ),
    ] = None,
    output_price: Annotated[
        int | None,
        typer.Option(
            "--output-price",
            metavar="N",
            min=0,
            max=MOST_PRICE,
            help="Credits for a million output tokens. Default: what stands there, else 3000000.",
            show_default=False,
        ),
    ] = None,
    revision: Annotated[str, typer.Option("--revision", metavar="REV", help="Branch, tag or commit.")] = "main",
    listing: Annotated[bool, typer.Option("--list", help="Only show what there is to fetch.")] = False,
    models: Annotated[
        Path | None,
        typer.Option(
            "--models",
            metavar="FILE",
            help="Model list to change; files go beside it. Default: models.yaml in the data directory.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Json = False,
) -> None:
    """Fetches a GGUF model from the Hugging Face hub and puts it into the model list.

    What is there already is not fetched again, and what was interrupted goes on.

    HF_ENDPOINT names another hub, HF_TOKEN an account's token.
    """
    repository, file = parse_repository(model)
    wanted = Wanted(repository, file, revision, alias, not no_projector, context, input_price, output_price)
    with Hub.of(os.environ) as hub:
        if listing:
            _print_listing(hub, wanted, as_json)
            return
        folder = DataFolder(data_dir or DEFAULT_DATA_DIR)
        path = models or folder.models_file
        if models is None:
            os.umask(0o077)  # what is in a data directory is for its owner alone
        try:
            pulled = _pull(hub, wanted, path, quiet)
        except Interrupted as interrupted:
            raise hub.unreachable(interrupted) from None
        except KeyboardInterrupt:
            raise CliError("interrupted; the same command goes on from there") from None
    next_step = _next_step(folder, ListFile(path), data_dir, models)
    _print(pulled, ListFile(path), next_step, as_json)


def _pull(hub: Hub, wanted: Wanted, path: Path, quiet: bool) -> Pulled:
    if wanted.alias is not None and not is_name(wanted.alias):
        raise CliError(f"{wanted.alias!r} is not a name of a model: {A_NAME}")
    repository = hub.repository(wanted.repository, wanted.revision)
    choice = choosing.choose(repository, wanted.file)
    eyes = choosing.projector(repository, choice) if wanted.projector else None
    name = wanted.alias or _name_of(choice)
    files = [*choice.files, *([eyes] if eyes else [])]
    for file in files:
        check_known(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CliError(f"cannot make {path.parent}: {error.strerror}; choose another with --data-dir") from None
    listed = ListFile(path)
    with Meter(output.stderr, quiet=quiet) as meter:
        downloader = Downloader(hub, repository, listed.path.parent / "models" / repository.id, meter)
        places = [downloader.place(file) for file in files]
        listed.check(name, places[0], replace=wanted.alias is not None)
        downloader.check_space(files)
        for file in files:
            downloader.fetch(file)
    traits = read_traits(places[0])
    notes = _notes(traits, wanted)
    if eyes is not None and not sees(places[-1]):
        notes.append(f"{eyes.name} is a projector for sound, which is not used")
        eyes = None
    entry, changed = listed.put(
        PulledModel(
            name=name,
            file=places[0],
            projector=places[-1] if eyes else None,
            trained_context=traits.trained_context,
            abilities=("tools", "json") if traits.calls_tools else ("json",),
            context=wanted.context,
            input_price=wanted.input_price,
            output_price=wanted.output_price,
        ),
        replace=wanted.alias is not None,
    )
    source = f"{repository.id}:{choice.name}"
    return Pulled(entry, traits, source, repository.commit, downloader.fetched, changed, tuple(notes))


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


def _next_step(folder: DataFolder, listed: ListFile, data_dir: Path | None, models: Path | None) -> str:
    """How the list comes into use: what to type."""
    options = [*(["--data-dir", str(data_dir)] if data_dir else []), *(["--models", str(models)] if models else [])]
    start = shlex.join(["muhgpt", "up", *options])
    run = folder.read_run() or {}
    if not alive(run.get("pid")):
        return f"Start it with: {start}"
    if run.get("models") == str(listed.path):
        return f"The running system takes it with: kill -HUP {run['pid']}"
    return f"The running system (process {run['pid']}) uses another list; stop it, then: {start}"


def _print(pulled: Pulled, listed: ListFile, next_step: str, as_json: bool) -> None:
    entry = pulled.entry
    target = entry.targets[0]
    assert isinstance(target, LlamaTarget)
    document = {
        "model": entry.id,
        "aliases": list(entry.aliases),
        "source": pulled.source,
        "commit": pulled.commit,
        "file": str(target.file),
        "projector": str(target.projector) if target.projector else None,
        "list": str(listed.path),
        "list_changed": pulled.changed,
        "fetched_bytes": pulled.fetched,
        "context_length": entry.context_length,
        "trained_context_length": pulled.traits.trained_context,
        "abilities": sorted(entry.abilities),
        "price": {"input": entry.price.input, "output": entry.price.output},
        "notes": list(pulled.notes),
    }
    if as_json:
        output.print_json(document)
        return
    fetched = f"{output.size(pulled.fetched)} fetched" if pulled.fetched else "nothing to fetch, it was here"
    output.stdout.print(f"{entry.id} is {pulled.source} ({fetched}; checksum right).", soft_wrap=True)
    output.print_facts(
        {
            "list": f"{listed.path}{'' if pulled.changed else ' (as it was)'}",
            "called": ", ".join([entry.id, *entry.aliases]),
            "context": f"{entry.context_length:,} of {pulled.traits.trained_context:,} tokens{_memory(pulled)}",
            "abilities": ", ".join(sorted(entry.abilities)),
            "price": f"{entry.price.input:,} in, {entry.price.output:,} out: credits for a million tokens",
        }
    )
    for note in pulled.notes:
        output.stdout.print(f"Note: {note}.", soft_wrap=True)
    output.stdout.print(next_step, soft_wrap=True)


def _memory(pulled: Pulled) -> str:
    """What the context takes at most: the one figure that decides whether a larger one fits."""
    if pulled.traits.cache_bytes is None:
        return ""
    taken = pulled.traits.cache_bytes * pulled.entry.context_length * SLOTS
    return f"; {SLOTS} answers at once take up to {output.size(taken)} of memory for it"


def _print_listing(hub: Hub, wanted: Wanted, as_json: bool) -> None:
    try:
        repository = hub.repository(wanted.repository, wanted.revision)
    except Interrupted as interrupted:
        raise hub.unreachable(interrupted) from None
    choices = choosing.models(repository)
    rows = [(choice, choosing.projector(repository, choice)) for choice in choices]
    if as_json:
        documents = [
            {
                "file": choice.name,
                "bytes": choice.size,
                "parts": len(choice.files),
                "projector": eyes.path if eyes else None,
            }
            for choice, eyes in rows
        ]
        output.print_json({"repository": repository.id, "commit": repository.commit, "models": documents})
        return
    cells = [
        [output.printable(choice.name), output.size(choice.size), output.printable(eyes.name) if eyes else ""]
        for choice, eyes in rows
    ]
    output.print_table(["file", "size", "projector"], cells, empty="")
