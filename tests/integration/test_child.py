"""A module in a process of its own, as those that count tokens and decode images are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from servicekit.process.child import Child, module_command, part_of_environment

WORKER = """\
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "secret": os.environ.get("MUHGPT_CHILD_SECRET")}), flush=True)
for line in sys.stdin.buffer:
    content = sys.stdin.buffer.read(json.loads(line)["size"])
    if content == b"die":
        sys.exit(3)
    answer = content.upper()
    sys.stdout.buffer.write(json.dumps({"size": len(answer)}).encode() + b"\\n" + answer)
    sys.stdout.flush()
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    (tmp_path / "child_of_the_test.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MUHGPT_CHILD_SECRET", "a secret")
    return Child("child_of_the_test", 7, environment=("PYTHONPATH", "PATH"))


async def test_it_starts_once_inherits_what_it_may_and_answers(child: Child) -> None:
    try:
        assert await child.start() == {"arguments": ["7"], "secret": None}
        assert await child.start() is None
        assert await child.ask({"size": 5}, b"hello") == ({"size": 5}, b"HELLO")
        assert await child.ask({"size": 0}, b"") == ({"size": 0}, b"")
    finally:
        await child.kill()
    assert child.pid is None


async def test_one_that_dies_while_it_is_asked_is_started_again(child: Child) -> None:
    try:
        await child.start()
        first = child.pid
        with pytest.raises((EOFError, OSError)):
            await child.ask({"size": 3}, b"die")
        assert child.pid is None
        assert await child.start() is not None
        assert child.pid not in (None, first)
        assert await child.ask({"size": 2}, b"ok") == ({"size": 2}, b"OK")
    finally:
        await child.kill()
    with pytest.raises(EOFError):
        await child.ask({"size": 2}, b"ok")


def test_a_module_is_run_without_the_directory_that_the_operator_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "1")
    monkeypatch.delenv("TWO", raising=False)
    assert module_command("a.module", 1, "x") == [sys.executable, "-P", "-m", "a.module", "1", "x"]
    assert part_of_environment(["ONE", "TWO"]) == {"ONE": "1"}
