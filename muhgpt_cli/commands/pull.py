"""`muhgpt models pull`: a GGUF from the hub, its checksum proved, behind a name of the model list."""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from common.model_list.fields import MAX_CONTEXT_LENGTH
from common.model_list.schema import MAX_PRICE
from muhgpt_cli import output
from muhgpt_cli.commands.pull_report import print_listing, print_pulled
from muhgpt_cli.errors import CliError
from muhgpt_cli.hub.client import Hub, Interrupted, parse_repository
from muhgpt_cli.hub.meter import Meter
from muhgpt_cli.hub.pulling import Pulled, Wanted, pull_model
from muhgpt_cli.local.data_dir import DataDir as DataFolder
from muhgpt_cli.model_file.list_file import ListFile
from muhgpt_cli.options import DataDir, Json, examples
from muhgpt_cli.system import DEFAULT_DATA_DIR, alive

EPILOG = examples(
    "muhgpt models pull Qwen/Qwen2.5-1.5B-Instruct-GGUF --alias muh-chat",
    "muhgpt models pull Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q8_0 --alias better",
    "muhgpt models pull Qwen/Qwen2.5-1.5B-Instruct-GGUF --list",
)

Model = Annotated[
    str,
    typer.Argument(
        metavar="ORG/NAME[:FILE]",
        help="Repository of the hub, and of its files one, or a quantization such as Q8_0.",
        show_default=False,
    ),
]
Alias = Annotated[
    str | None,
    typer.Option(
        "--alias",
        metavar="NAME",
        help="What clients call it; a model of this name gets the new file. Default: the file's name.",
        show_default=False,
    ),
]
NoProjector = Annotated[
    bool, typer.Option("--no-projector", help="Leave the projector, which gives vision, where it is.")
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        metavar="N",
        min=64,
        max=MAX_CONTEXT_LENGTH,
        help="Tokens of context. Default: what the model was trained for, at most 8192.",
        show_default=False,
    ),
]
InputPrice = Annotated[
    int | None,
    typer.Option(
        "--input-price",
        metavar="N",
        min=0,
        max=MAX_PRICE,
        help="Credits for a million input tokens. Default: what stands there, else 1000000.",
        show_default=False,
    ),
]
OutputPrice = Annotated[
    int | None,
    typer.Option(
        "--output-price",
        metavar="N",
        min=0,
        max=MAX_PRICE,
        help="Credits for a million output tokens. Default: what stands there, else 3000000.",
        show_default=False,
    ),
]
Revision = Annotated[str, typer.Option("--revision", metavar="REV", help="Branch, tag or commit.")]
Listing = Annotated[bool, typer.Option("--list", help="Only show what there is to fetch.")]
ModelsFile = Annotated[
    Path | None,
    typer.Option(
        "--models",
        metavar="FILE",
        help="Model list to change; files go beside it. Default: models.yaml in the data directory.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def pull(
    model: Model,
    alias: Alias = None,
    no_projector: NoProjector = False,
    context: Context = None,
    input_price: InputPrice = None,
    output_price: OutputPrice = None,
    revision: Revision = "main",
    listing: Listing = False,
    models: ModelsFile = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fetches a GGUF model from the Hugging Face hub and puts it into the model list.

    What is there already is not fetched again, and what was interrupted goes on.

    HF_ENDPOINT names another hub, HF_TOKEN an account's token.
    """
    repository, file = parse_repository(model)
    wanted = Wanted(repository, file, revision, alias, not no_projector, context, input_price, output_price)
    folder = DataFolder(data_dir or DEFAULT_DATA_DIR)
    path = models or folder.models_file
    with Hub.of(os.environ) as hub:
        if listing:
            print_listing(hub, wanted, as_json)
            return
        if models is None:
            os.umask(0o077)  # what is in a data directory is for its owner alone
        pulled = _pull(hub, wanted, path, quiet)
    next_step = _next_step(folder, ListFile(path), data_dir, models)
    print_pulled(pulled, ListFile(path), next_step, as_json)


def _pull(hub: Hub, wanted: Wanted, path: Path, quiet: bool) -> Pulled:
    try:
        return pull_model(hub, wanted, path, partial(Meter, output.stderr, quiet=quiet))
    except Interrupted as interrupted:
        raise hub.unreachable(interrupted) from None
    except KeyboardInterrupt:
        raise CliError("interrupted; the same command goes on from there") from None


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
