"""The table of `make hostile`: what each attack did to the victim, to memory, and what the attacker got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MIB = 1024 * 1024


@dataclass
class Times:
    """Requests of the victim in one period, in seconds."""

    short: list[float] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)
    streams: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def slowest(self) -> float:
        """The slowest short request or the longest silence of a stream, in seconds."""
        return max((*self.short, *self.silences), default=0.0)

    def text(self) -> str:
        """p50/p99/max of short requests in milliseconds."""
        return "/".join(f"{1000 * quantile(self.short, share):.0f}" for share in (0.5, 0.99, 1.0))


@dataclass
class Row:
    """One attack against a platform with so many edge workers. Memory in bytes, by service."""

    attack: str
    case: str
    workers: int
    before: Times
    during: Times
    peaks: dict[str, int]
    outcomes: Counter[str]

    def line(self) -> str:
        """As a row of Markdown."""
        silence = f"{1000 * max(self.during.silences, default=0.0):.0f}"
        memory = " | ".join(f"{self.peaks[name] // MIB}" for name in ("edge", "auth", "quota", "inference"))
        got = ", ".join(f"{what} × {count}" for what, count in self.outcomes.most_common(4))
        times = f"{self.before.text()} | {self.during.text()} | {silence}"
        return f"| {self.attack} | {self.case} | {self.workers} | {times} | {memory} | {got} |"


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


ROWS: list[Row] = []


def lines() -> Iterator[str]:
    """The table as Markdown; nothing when no attack ran."""
    if not ROWS:
        return
    times = "victim before, p50/p99/max ms | during, p50/p99/max ms | longest silence of a stream, ms"
    yield f"| attack | case | workers | {times} | edge MiB | auth | quota | inference | the attacker got |"
    yield "|---|---|--:|---|---|--:|--:|--:|--:|--:|---|"
    yield from (row.line() for row in ROWS)
    slowest = max(ROWS, key=lambda row: row.during.slowest)
    took = f"{1000 * slowest.during.slowest:.0f} ms"
    yield f"Slowest of all for the victim: {took} ({slowest.attack}, {slowest.workers} workers)."
