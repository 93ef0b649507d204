"""What commands print: one JSON document, or sober tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.table import Table

from muhgpt_cli import streams
from muhgpt_cli.errors import CliError

FILE_WIDTH = 200  # columns, where output goes to a file or a pipe


class OutputLost(CliError):
    """What a command was asked for could not be shown."""


class ReaderGone(OutputLost):
    """Whoever read the output has had enough, as in `muhgpt accounts list | head`."""


class _Results(Console):
    """Standard output. Raises OutputLost."""

    def print(self, *objects: Any, **options: Any) -> None:
        with shown():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@contextmanager
def shown() -> Iterator[None]:
    """Around writing to standard output: raises OutputLost when it fails."""
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone(streams.unwritable(error)) from None
    except OSError as error:
        raise OutputLost(streams.unwritable(error)) from None


stdout = _Results(highlight=False, markup=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
stderr = Console(stderr=True, highlight=False, markup=False)


def write(text: str) -> None:
    """Text as it is, at once. Raises OutputLost."""
    with shown():
        sys.stdout.write(text)
        sys.stdout.flush()


def print_json(document: Any) -> None:
    """Exactly one JSON document, on one line. Raises OutputLost."""
    write(json.dumps(document, ensure_ascii=not streams.takes_unicode(sys.stdout)) + "\n")


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str,
    title: str = "",
    console: Console = stdout,
) -> None:
    """A table; numbers are set to the right and grouped by thousands. `empty` is printed when there are no rows."""
    lines = [list(row) for row in rows]
    if not lines:
        console.print(empty)
        return
    if _width(columns, lines) > console.width:
        _print_records(columns, lines, title, console)
        return
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for number, column in enumerate(columns):
        numeric = any(isinstance(line[number], int) for line in lines)
        # The first column names the thing, to be copied, and a number that is broken is misread: neither is.
        table.add_column(
            column, justify="right" if numeric else "left", overflow="fold", no_wrap=number == 0 or numeric
        )
    for line in lines:
        table.add_row(*(_cell(value) for value in line))
    console.print(table)


def _width(columns: Sequence[str], lines: Sequence[Sequence[object]]) -> int:
    """What a table takes with no cell broken and a gap of two between columns."""
    cells = ([heading, *(_cell(line[number]) for line in lines)] for number, heading in enumerate(columns))
    return sum(max(map(len, column)) for column in cells) + 2 * len(columns)


def _print_records(columns: Sequence[str], lines: Sequence[Sequence[object]], title: str, console: Console) -> None:
    """Row by row, for a terminal too narrow for the table: broken words and lost columns say less, or lie."""
    if title:
        console.print(title)
    for number, line in enumerate(lines):
        if number or title:
            console.print("")
        print_facts(dict(zip(columns, line, strict=True)), console)


def print_facts(facts: dict[str, object], console: Console = stdout) -> None:
    """Names and values, one a line."""
    width = max(map(len, facts))
    for name, value in facts.items():
        console.print(f"{name.ljust(width)}  {_cell(value)}", soft_wrap=True)


def instant(timestamp: Timestamp | None) -> str | None:
    """ISO 8601 in UTC, whole seconds; None when the field is not set."""
    if timestamp is None or not (timestamp.seconds or timestamp.nanos):
        return None
    return timestamp.ToDatetime(tzinfo=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def printable(text: str) -> str:
    """A model's text without the control characters that could steer a terminal."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def size(count: int) -> str:
    """Bytes for people, as disks and hubs count them: "4.68 GB"."""
    value, unit = float(count), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{value:.3g} {unit}"
