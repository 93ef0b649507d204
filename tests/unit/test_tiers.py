"""No test is left out of every run (tests/tiers.py)."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiers import runs

ROOT = Path(__file__).resolve().parents[2]
MARKS = ("faults", "hostile", "beside", "long", "e2e")
SETS = [set(some) for number in range(len(MARKS) + 1) for some in itertools.combinations(MARKS, number)]


@pytest.mark.parametrize("marks", SETS, ids=lambda marks: "+".join(sorted(marks)) or "none")
def test_a_test_is_in_one_part_of_the_short_tier_or_in_a_long_run(marks: set[str]) -> None:
    parts = [part for part in ("beside", "faults", "hostile") if runs(marks, "short", part)]
    own_long_form = bool(marks & {"faults", "hostile"})
    assert len(parts) == (0 if "long" in marks else 1)
    assert runs(marks, "long", "") == ("long" in marks and not own_long_form)
    assert runs(marks, "", "")


def test_what_needs_the_machine_never_runs_beside_others() -> None:
    assert not runs({"hostile"}, "short", "beside")
    assert not runs({"faults"}, "short", "beside")
    assert not runs({"faults"}, "short", "hostile")
    assert runs({"faults", "beside"}, "short", "beside")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_long_forms_of_faults_and_attacks_have_every_test_of_the_short_ones() -> None:
    short = collected("tests/faults", "tests/hostile", TEST_TIER="short")
    long = collected("tests/faults", "tests/hostile", MUHGPT_FAULTS="long", HOSTILE_LONG="1")
    assert {functions(test) for test in short} <= {functions(test) for test in long}
    assert len(long) > 2 * len(short)


def collected(*paths: str, **environment: str) -> set[str]:
    """The ids of the tests that such a run takes."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("TEST_TIER", "TEST_PART")}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *paths]
    done = subprocess.run(command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:]
    return {line for line in done.stdout.splitlines() if "::" in line}


def functions(test: str) -> str:
    """A test without its parameters, which differ between the forms."""
    return test.partition("[")[0]
