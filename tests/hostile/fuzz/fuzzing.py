"""Hypothesis against the clock: examples for so many seconds, with the seed printed so that a run can be repeated."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

SHARE = 5  # subjects that share the time
SECONDS = float(os.environ.get("FUZZ_SECONDS", "60")) / SHARE
ROUND = 200  # examples of one seed


def fuzz(subject: str, strategy: SearchStrategy[Any], check: Callable[[Any], None]) -> int:
    """Checks examples until the subject's time is over and returns how many. FUZZ_SEED repeats a run's first round.

    Raises what `check` raises, for the smallest example that hypothesis finds in the same round.
    """
    number = int(os.environ.get("FUZZ_SEED") or secrets.randbits(32))
    ends = time.monotonic() + SECONDS
    examples = 0
    sys.stderr.write(f"fuzz {subject}: FUZZ_SEED={number}" + "\n")
    while time.monotonic() < ends:

        @seed(number)
        @settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def one_round(example: Any) -> None:
            nonlocal examples
            if time.monotonic() < ends:
                examples += 1
                check(example)

        one_round()
        number += 1
    sys.stderr.write(f"fuzz {subject}: {examples} examples" + "\n")
    return examples
