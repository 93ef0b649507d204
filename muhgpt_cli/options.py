"""Options that several commands share, and how examples stand in their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

MOST_CREDITS = 10**15

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where `muhgpt up` keeps the system. Default: what MUHGPT_CLI_… addresses name, else .muhgpt.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text for people.")]
AccountEmail = Annotated[str, typer.Option("--account", metavar="EMAIL", help="The account's email address.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="At most so many, newest first.")]
ApiKey = Annotated[
    str | None,
    typer.Option("--key", envvar="MUHGPT_API_KEY", help="API key (mghp_…).", show_default=False, show_envvar=True),
]


def examples(*lines: str) -> str:
    """An epilog that shows how a command is typed."""
    return "\n\n".join(["[bold]Examples[/bold]", *(escape(line) for line in lines)])


def typed(text: str) -> str:
    """Text as it was typed, where the locale knows ASCII only: Python then reads each byte of UTF-8 as a surrogate.

    What is not UTF-8 stays as it is, and is refused where it is sent.
    """
    try:
        return text.encode(errors="surrogateescape").decode()
    except UnicodeError:
        return text
