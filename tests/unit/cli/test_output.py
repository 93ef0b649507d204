"""Tables as a person sees them."""

from __future__ import annotations

import io

from rich.console import Console

from muhgpt_cli.output import print_table

COLUMNS = ["key id", "state", "models"]
ROWS = [["key_1", "revoked", "muh-chat, gpt-4o"], ["key_2", "active", ""]]


def shown(width: int) -> list[str]:
    """The lines of a table on a terminal that wide."""
    said = io.StringIO()
    console = Console(file=said, width=width, highlight=False, markup=False)
    print_table(COLUMNS, ROWS, empty="None.", console=console)
    return [line.rstrip() for line in said.getvalue().splitlines() if line.strip()]


def test_a_table_that_fits_has_a_line_for_each_row() -> None:
    lines = shown(60)
    assert len(lines) == 2 + len(ROWS)
    assert lines[-1].split() == ["key_2", "active", "-"]


def test_on_a_narrow_terminal_every_value_is_there_and_whole() -> None:
    assert shown(30) == [
        "key id  key_1",
        "state   revoked",
        "models  muh-chat, gpt-4o",
        "key id  key_2",
        "state   active",
        "models  -",
    ]
