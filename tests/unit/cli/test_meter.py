"""A download's progress as a person sees it, and as a log does."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from muhgpt_cli.hub.client import RemoteFile
from muhgpt_cli.hub.meter import Meter

FILE = RemoteFile("Q4/Rocket-3B-Instruct-2507-Q4_K_M.gguf", 4_680_000_000, "ab" * 32)


def shown(width: int, *, terminal: bool, quiet: bool = False) -> list[str]:
    """The lines that were there at some time."""
    said = io.StringIO()
    console = Console(file=said, width=width, force_terminal=terminal, highlight=False, markup=False)
    with Meter(console, quiet=quiet) as meter:
        for percent in range(101):
            meter("fetching", FILE, FILE.size * percent // 100)
        meter("waiting to try again", FILE, FILE.size)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.getvalue())
    return [line for line in re.split(r"[\r\n]+", plain) if line.strip()]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_bar_fits_the_terminal_and_tells_the_end_of_the_name(width: int) -> None:
    lines = shown(width, terminal=True)
    assert max(map(len, lines)) <= width
    assert any("Q4_K_M.gguf" in line and "4.7 GB" in line for line in lines)


def test_a_log_gets_a_line_for_each_tenth() -> None:
    lines = shown(80, terminal=False)
    assert len(lines) == 12
    assert lines[5] == "fetching Rocket-3B-Instruct-2507-Q4_K_M.gguf: 50 % of 4.68 GB"


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_quiet(terminal: bool) -> None:
    assert shown(80, terminal=terminal, quiet=True) == []
