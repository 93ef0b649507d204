"""What the suite did and found: one row for each scenario and database, printed at the end of the long run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Row:
    """Counts of one scenario. `stuck` is the longest that a hold outlived its request, in seconds.

    `unseen`: whole answers that were paid and whose edge was killed before it wrote them: none may be. `unpaid`: whole
    answers that were read just before their edge was killed, and given back (docs/guarantees.md), and streams that
    ended while their edge was parted from quota; `read_late`: all that were read just before a kill.
    """

    faults: int = 0
    requests: int = 0
    lost: int = 0
    doubled: int = 0
    negative: int = 0
    unseen: int = 0
    unpaid: int = 0
    read_late: int = 0
    stuck: float = 0.0

    def __iadd__(self, other: Row) -> Row:
        self.faults += other.faults
        self.requests += other.requests
        self.lost += other.lost
        self.doubled += other.doubled
        self.negative += other.negative
        self.unseen += other.unseen
        self.unpaid += other.unpaid
        self.read_late += other.read_late
        self.stuck = max(self.stuck, other.stuck)
        return self


class Report:
    """Rows by scenario and database, in the order of their first mention."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Row] = {}

    def add(self, scenario: str, database: str, row: Row) -> None:
        """Adds to a scenario's row."""
        known = self._rows.setdefault((scenario, database), Row())
        known += row

    def lines(self) -> Iterator[str]:
        """The table as Markdown, with a sum below it; nothing when there is nothing to tell."""
        if not self._rows:
            return
        counts = "faults injected | requests | lost | doubled | negative | paid unseen | seen, not paid / read late"
        yield f"| scenario | database | {counts} | longest stuck hold |"
        yield "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
        total = Row()
        for (scenario, database), row in sorted(self._rows.items()):
            total += row
            yield _line(scenario, database, row)
        yield _line("**all**", "", total)


def _line(scenario: str, database: str, row: Row) -> str:
    counts = (
        f"{row.faults} | {row.requests} | {row.lost} | {row.doubled} | {row.negative} | {row.unseen} | {row.unpaid}"
        f" / {row.read_late}"
    )
    return f"| {scenario} | {database} | {counts} | {row.stuck:.1f} s |"


REPORT = Report()
