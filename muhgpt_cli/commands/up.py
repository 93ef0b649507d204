"""`muhgpt up`: the whole platform on one machine, with one command."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from muhgpt_cli.local.announce import Announcer
from muhgpt_cli.local.platform import Options, Platform
from muhgpt_cli.local.preflight import check_environment, check_port
from muhgpt_cli.options import examples
from muhgpt_cli.system import DEFAULT_DATA_DIR
from servicekit.clock import SystemClock

EPILOG = examples(
    "muhgpt up",
    "muhgpt up --port 9000 --workers 4 --data-dir /var/lib/muhgpt",
    "muhgpt up --models models.yaml",
    "muhgpt up --json > ready.json &",
)


def up(
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    host: Annotated[str, typer.Option("--host", help="Address; 0.0.0.0 for all (plain HTTP).")] = "127.0.0.1",
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Keeps databases, tokens and logs; made when missing.")
    ] = DEFAULT_DATA_DIR,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, max=256, help="Processes of the edge.")] = 1,
    models: Annotated[
        Path | None,
        typer.Option(
            "--models",
            metavar="FILE",
            help="Model list with prices (YAML). Default: models.yaml in the data directory, else what is shipped.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one line when ready: base_url, api_key (null after the first start), pid."),
    ] = False,
) -> None:
    """Starts everything on this machine, with SQLite and the model that is shipped, and runs until Ctrl-C.

    The first start makes an account with credits and a key, and shows the key once. What crashes is started again;
    when a service cannot run, everything stops and its last words are shown.
    """
    check_environment(os.environ)
    check_port(host, port)
    options = Options(host, port, data_dir, workers, models, dict(os.environ))
    asyncio.run(Platform(options, Announcer(as_json), SystemClock()).run())
