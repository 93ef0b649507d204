"""A suite counts as verified only when it was green, often enough, on the files as they are."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.verification import page, suites
from tests.verification.__main__ import main, run
from tests.verification.check import problems
from tests.verification.covered import covered
from tests.verification.page import Record
from tests.verification.suites import SUITES, Suite

SUITE = Suite("hostile", ("services",), suites.hostile, green_runs=3)
GREEN = Record("hostile", "make hostile", "0123abcd", "2026-11-26T10:00", True, "5 passed", 60, "now")


def found(*records: Record) -> list[str]:
    return list(problems([SUITE], records, lambda paths: "now"))


def test_three_green_runs_on_the_files_as_they_are_are_enough() -> None:
    assert found(GREEN, GREEN, GREEN) == []


def test_two_green_runs_are_not_enough() -> None:
    assert found(GREEN, GREEN) == ["hostile: was green 2 of 3 times in a row"]


def test_a_suite_that_never_ran_is_named() -> None:
    assert found(replace(GREEN, suite="faults")) == ["hostile: has never been recorded"]


@pytest.mark.parametrize("place", range(3))
def test_one_red_run_of_the_last_three_is_named(place: int) -> None:
    records = [GREEN] * 3
    records[place] = replace(GREEN, green=False, date="2026-11-25T09:00")
    assert found(*records) == ["hostile: was red on 2026-11-25T09:00 at 0123abcd"]


def test_a_run_of_other_files_is_stale() -> None:
    assert found(GREEN, GREEN, replace(GREEN, covered="then")) == [
        "hostile: is stale: what it covers has changed since 2026-11-26T10:00 (0123abcd)"
    ]


def test_an_older_red_run_is_forgotten() -> None:
    assert found(GREEN, GREEN, GREEN, replace(GREEN, green=False)) == []


def test_records_are_read_as_they_were_written_and_only_the_last_three_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "verification.md"
    assert page.read(file) == []
    dates = [f"2026-11-26T10:0{minute}" for minute in range(5)]
    page.add(replace(GREEN, suite="faults", figures="a / b"), file)
    for date in dates:
        page.add(replace(GREEN, date=date), file)
    read = page.read(file)
    assert [record.date for record in read if record.suite == "hostile"] == dates[:1:-1]
    assert replace(GREEN, suite="faults", figures="a / b") in read


def test_a_figure_cannot_break_the_table() -> None:
    assert page.parse(replace(GREEN, figures="a | b\nc").row()).figures == "a / b c"
    assert page.parse(replace(GREEN, figures="").row()).figures == "none"


def test_the_hash_follows_contents_and_names_of_what_is_covered(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=30)
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "one.py").write_text("1")
    (tmp_path / ".gitignore").write_text("*.log\n")
    first = covered(["services"], tmp_path)
    (tmp_path / "elsewhere.py").write_text("1")
    (tmp_path / "services" / "out.log").write_text("1")
    (tmp_path / "services" / "README.md").write_text("1")
    assert covered(["services"], tmp_path) == first
    (tmp_path / "services" / "one.py").write_text("2")
    second = covered(["services"], tmp_path)
    assert second != first
    (tmp_path / "services" / "one.py").rename(tmp_path / "services" / "two.py")
    assert covered(["services"], tmp_path) not in (first, second)


def test_the_figures_of_faults_are_the_last_row_of_its_table() -> None:
    output = """
| scenario | database | faults injected | requests | lost | seen, not paid / read late | longest stuck hold |
|---|---|--:|--:|--:|--:|--:|
| kill -9 of an edge | sqlite | 1 | 60 | 0 | 0 / 1 | 1.0 s |
| **all** |  | 7 | 90 | 0 | 0 / 1 | 9.5 s |
============ 1 failed, 97 passed, 4 skipped, 12 deselected in 460.13s (0:07:40) ============
3 passed in 61.02s (0:01:01)
"""
    assert suites.faults(output) == (
        "100 passed, 1 failed, 4 skipped; faults injected: 7; requests: 90; lost: 0; "
        "seen, not paid / read late: 0 / 1; longest stuck hold: 9.5 s"
    )


def test_the_other_suites_have_their_headlines() -> None:
    slowest = "Slowest of all for the victim: 462 ms (heads that are not HTTP, 1 workers).\n5 passed in 2.00s\n"
    assert suites.hostile(slowest) == "5 passed; slowest for the victim: 462 ms (heads that are not HTTP, 1 workers)"
    assert suites.conformance("a   1 passed\n411 passed, 0 failed, 13 skipped\n") == "411 passed, 0 failed, 13 skipped"
    rows = "| old edge | sqlite | 130 | 0 | 0 | yes | 17 s |\n| new edge | postgresql | 20 | 1 | 0 | no | 1 s |\n"
    assert suites.upgrade(rows) == "150 requests, 1 failed"
    row = "| whole answers, 32 clients | muhgpt, SQLite | 5,100 | 16.2 | 9 / 12 | 190 | 8 % |\n"
    assert suites.bench_path(row) == "whole answers, 32 clients, SQLite: 16.2 × LiteLLM; 0 below the floor"


def test_what_a_suite_prints_is_passed_on_and_kept(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["sh", "-c", "echo one; echo two >&2; exit 3"]) == (3, "one\ntwo\n")
    assert capfd.readouterr().out == "one\ntwo\n"


def test_a_part_of_a_suite_is_run_and_not_recorded() -> None:
    before = page.read()
    assert main(["record", "hostile", "-k one", "sh", "-c", "exit 4"]) == 4
    assert page.read() == before


def test_every_suite_is_a_target_that_records_itself() -> None:
    makefile = (page.ROOT / "Makefile").read_text()
    assert [name for name in SUITES if f"$(RECORD) {name} " not in makefile] == []
    assert [
        suite.name for suite in SUITES.values() if not all((page.ROOT / path).exists() for path in suite.covers)
    ] == []
