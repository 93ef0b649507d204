"""What is missing before an issue may be called resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from tests.verification.page import Record
from tests.verification.suites import Suite


def problems(
    suites: Iterable[Suite], records: Sequence[Record], covered: Callable[[Sequence[str]], str]
) -> Iterator[str]:
    """A line for each suite that is not green on the files as they are; `covered` hashes them."""
    for suite in suites:
        newest = [record for record in records if record.suite == suite.name][: suite.green_runs]
        if problem := _problem(suite, newest, covered(suite.covers)):
            yield f"{suite.name}: {problem}"


def _problem(suite: Suite, newest: Sequence[Record], now: str) -> str:
    """Why a suite's newest records, newest first, are not enough; empty when they are."""
    if not newest:
        return "has never been recorded"
    if red := next((record for record in newest if not record.green), None):
        return f"was red on {red.date} at {red.commit}"
    if stale := next((record for record in newest if record.covered != now), None):
        return f"is stale: what it covers has changed since {stale.date} ({stale.commit})"
    if len(newest) < suite.green_runs:
        return f"was green {len(newest)} of {suite.green_runs} times in a row"
    return ""
