"""Tables as a person sees them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from muhgpt_cli import output

COLUMNS = ["key id", "state", "models"]
ROWS = [["key_1", "revoked", "muh-chat, gpt-4o"], ["key_2", "active", ""]]


def shown(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    """The lines of a table on a terminal of so many columns."""
    said = io.StringIO()
    monkeypatch.setattr(output, "stdout", Console(file=said, width=width, highlight=False, markup=False))
    output.print_table(COLUMNS, ROWS, empty="None.")
    return [line.rstrip() for line in said.getvalue().splitlines() if line.strip()]


def test_a_table_that_fits_has_a_line_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 60)
    assert len(lines) == 2 + len(ROWS)
    assert lines[-1].split() == ["key_2", "active", "-"]


def test_on_a_narrow_terminal_every_value_is_there_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, 30) == [
        "key id  key_1",
        "state   revoked",
        "models  muh-chat, gpt-4o",
        "key id  key_2",
        "state   active",
        "models  -",
    ]
