"""docs/verification.md: a row for each run of a long suite, newest first, written by the suites themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "verification.md"
MAX_RECORDS = 3  # kept of each suite
HEAD = """# Verification

The last runs of the suites that CI is too short for. Each `make` target below writes its own row; do not edit them.
`make resolve-check` fails unless each suite is green on the files as they are
([CONTRIBUTING.md](../CONTRIBUTING.md#before-an-issue-is-resolved)). *covered* is a hash of the files that a suite
covers, at the start of its run; *changed* at a commit says that the checkout held changes beside it.

| suite | command | commit | date (UTC) | result | figures | seconds | covered |
|---|---|---|---|---|---|--:|---|
"""


@dataclass(frozen=True)
class Record:
    """One run. `date` is ISO 8601 in UTC, to the minute."""

    suite: str
    command: str
    commit: str
    date: str
    green: bool
    figures: str
    seconds: int
    covered: str

    def row(self) -> str:
        """As a row of Markdown."""
        figures = self.figures.replace("|", "/").replace("\n", " ") or "none"
        result = "green" if self.green else "red"
        cells = [self.suite, f"`{self.command}`", self.commit, self.date, result, figures]
        return f"| {' | '.join([*cells, str(self.seconds), self.covered])} |"


def parse(row: str) -> Record:
    """The record of a row. Raises ValueError for any other line."""
    cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
    suite, command, commit, date, result, figures, seconds, covered = cells
    if result not in ("green", "red"):
        raise ValueError(f"neither green nor red: {row}")
    return Record(suite, command.strip("`"), commit, date, result == "green", figures, int(seconds), covered)


def read(page: Path = PAGE) -> list[Record]:
    """All records, newest first; none where there is no page."""
    if not page.exists():
        return []
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    return [parse(row) for row in rows[1:]]


def add(record: Record, page: Path = PAGE) -> None:
    """Puts a record on top, and drops the oldest of its suite."""
    others = read(page)
    kept = [record, *[other for other in others if other.suite == record.suite][: MAX_RECORDS - 1]]
    records = [*kept, *(other for other in others if other.suite != record.suite)]
    write(sorted(records, key=lambda each: each.date, reverse=True), page)


def write(records: Sequence[Record], page: Path = PAGE) -> None:
    """Replaces the page at once, so that no reader meets half of it."""
    draft = page.with_suffix(".md.new")
    draft.write_text(HEAD + "".join(f"{record.row()}\n" for record in records))
    os.replace(draft, page)
