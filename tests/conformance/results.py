"""What a client's run found: JUnit's XML, which pytest and node's test runner both write, as one line of a table."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Result:
    """One client. `skipped` counts reasons; `failed` names checks; `notes` are figures that a check wants told."""

    client: str
    version: str
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def document(self) -> dict[str, object]:
        """For machines."""
        return {
            "client": self.client,
            "version": self.version,
            "passed": self.passed,
            "failed": self.failed,
            "skipped": dict(self.skipped),
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
        }

    def lines(self) -> list[str]:
        """For people: the client's line, then what went wrong, was left out or is worth telling."""
        skipped = sum(self.skipped.values())
        counts = f"{self.passed:4d} passed {len(self.failed):3d} failed {skipped:3d} skipped"
        head = f"{self.client:26s} {self.version:22s} {counts} {self.seconds:6.1f} s"
        return [
            head,
            *(f"    failed: {name}" for name in self.failed),
            *(f"    {note}" for note in self.notes),
            *(f"    skipped {times}: {reason}" for reason, times in sorted(self.skipped.items())),
        ]


def read_junit(file: Path, result: Result) -> None:
    """Counts a report's cases into the result. Raises ET.ParseError or OSError when there is no report."""
    for case in ET.parse(file).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        left_out = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed.append(name)
        elif left_out is not None:
            result.skipped[(left_out.get("message") or "no reason given").strip()] += 1
        else:
            result.passed += 1
        result.notes += [
            f"{each.get('name')}: {each.get('value')}"
            for each in case.iter("property")
            if each.get("name") != "timeout"
        ]
