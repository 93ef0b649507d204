"""The long suites: what each covers, how its figures are read, and how often in a row it must have been green."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PRODUCT = ("services", "servicekit", "common", "muhgpt_cli", "protos", "requirements.lock")
RUNNING = (*PRODUCT, "tests/worlds")  # what it takes to run it in a test
PYTEST_SUMMARY = re.compile(r"^(?:=+ )?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s", re.MULTILINE)
COUNTED = ("passed", "failed", "error", "errors", "skipped")


@dataclass(frozen=True)
class Suite:
    """One `make` target. `covers` are the paths whose change makes its record stale."""

    name: str
    covers: tuple[str, ...]
    headline: Callable[[str], str]
    green_runs: int = 1  # the newest so many records must be green


def pytest_counts(output: str) -> str:
    """The counts of all pytest runs in the output, added up; empty where there is none."""
    sums: dict[str, int] = {}
    for summary in PYTEST_SUMMARY.findall(output):
        for number, word in re.findall(r"(\d+) ([a-z]+)", summary):
            if word in COUNTED:
                name = "errors" if word == "error" else word
                sums[name] = sums.get(name, 0) + int(number)
    return ", ".join(f"{sums[name]} {name}" for name in ("passed", "failed", "errors", "skipped") if name in sums)


def faults(output: str) -> str:
    """The last line of the table (tests/faults/report.py), each figure with the name of its column."""
    header = re.search(r"^\| scenario \| database \| (.+) \|$", output, re.MULTILINE)
    total = re.search(r"^\| \*\*all\*\* \|\s*\| (.+) \|$", output, re.MULTILINE)
    if header is None or total is None:
        return pytest_counts(output)
    named = zip(header[1].split(" | "), total[1].split(" | "), strict=True)
    return "; ".join([pytest_counts(output), *(f"{name}: {figure}" for name, figure in named)])


def hostile(output: str) -> str:
    """The victim's slowest request."""
    slowest = re.findall(r"^Slowest of all for the victim: (.+)\.$", output, re.MULTILINE)
    return "; ".join([pytest_counts(output), *(f"slowest for the victim: {each}" for each in slowest[-1:])])


def conformance(output: str) -> str:
    """The counts of all clients."""
    counts = re.findall(r"^\d+ passed, \d+ failed, \d+ skipped$", output, re.MULTILINE)
    return counts[-1] if counts else ""


def upgrade(output: str) -> str:
    """Requests of all rows (tests/upgrade/run.py), and those that failed."""
    rows = re.findall(r"^\| [^|]+ \| (?:sqlite|postgresql) \| (\d+) \| (\d+) \|", output, re.MULTILINE)
    return f"{sum(int(row[0]) for row in rows)} requests, {sum(int(row[1]) for row in rows)} failed" if rows else ""


def bench_path(output: str) -> str:
    """The platform's ratio to LiteLLM in each workload (bench/path)."""
    rows = re.findall(r"^\| ([^|]+) \| muhgpt, (\w+) \| [^|]+ \| ([\d.]+)[^|]* \|", output, re.MULTILINE)
    missed = len(re.findall(r"^below the floor: ", output, re.MULTILINE))
    return "; ".join(
        [*(f"{name}, {database}: {ratio} × LiteLLM" for name, database, ratio in rows), f"{missed} below the floor"]
    )


SUITES = {
    suite.name: suite
    for suite in (
        Suite("faults", (*RUNNING, "tests/faults", "tests/e2e/test_overcharging.py"), faults, green_runs=3),
        Suite("hostile", (*RUNNING, "tests/hostile"), hostile, green_runs=3),
        Suite("conformance", (*RUNNING, "tests/conformance"), conformance),
        Suite("upgrade-test", (*RUNNING, "tests/upgrade"), upgrade),
        Suite("bench-path", (*PRODUCT, "bench/path"), bench_path),
        Suite("test-training", ("training",), pytest_counts),
        Suite("test-long", (*RUNNING, "tests/e2e", "tests/canaries", "tests/contract/auth"), pytest_counts),
    )
}
