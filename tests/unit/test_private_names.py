"""Tests and benchmarks use what production code shows: lint refuses private names, and here nothing is excepted."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
RULES = {"SLF001", "PLC2701"}  # private attributes, private imports
EXCEPTION = re.compile(r"#\s*(?:noqa|ruff:\s*noqa|ruff:\s*disable).*(?:SLF001|PLC2701)")


def test_the_rules_are_in_force() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert set(lint["select"]) >= RULES
    ignored = {path for path, rules in lint["per-file-ignores"].items() if RULES & set(rules)}
    assert not [path for path in ignored if path.startswith(("tests", "bench", "*"))]
    assert not RULES & set(lint["ignore"])


def test_no_line_of_a_test_or_benchmark_is_excepted() -> None:
    files = [path for top in ("tests", "bench") for path in (ROOT / top).rglob("*.py")]
    assert len(files) > 100
    excepted = [str(path.relative_to(ROOT)) for path in files if EXCEPTION.search(path.read_text())]
    assert excepted == []
