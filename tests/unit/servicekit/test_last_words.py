"""What nobody caught, in a process of its own: one JSON object a line, and no text of an exception."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

SECRET = "canary-5f0e"
BEGIN = f"""
import asyncio, threading, warnings
from servicekit.process.run import run
SECRET = "{SECRET}"
"""
PROGRAMS = {
    "crashed": """
        async def main():
            raise ValueError(SECRET)
        run(main)
    """,
    "thread_crashed": """
        async def main():
            def work():
                raise ValueError(SECRET)
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        run(main)
    """,
    "task_failed": """
        async def main():
            async def work():
                raise ValueError(SECRET)
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            del task
        run(main)
    """,
    "finalizer_failed": """
        class Bad:
            def __del__(self):
                raise ValueError(SECRET)
        async def main():
            Bad()
        run(main)
    """,
}


def said(program: str) -> tuple[int, list[dict[str, Any]]]:
    """Runs a program; its exit code, and every line that it wrote."""
    source = BEGIN + textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    assert SECRET not in done.stderr
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize("event", PROGRAMS)
def test_what_nobody_caught_is_one_event_without_its_text(event: str) -> None:
    code, lines = said(PROGRAMS[event])
    assert code == (1 if event == "crashed" else 0)
    (line,) = [line for line in lines if line["event"] == event]
    assert line["exception"][0]["type"] == "ValueError"
    assert line["level"] in ("error", "critical")


def test_what_a_lost_connection_leaves_behind_is_one_warning_and_not_a_line_for_each_call() -> None:
    program = """
        import gc
        async def main():
            for _ in range(147):
                asyncio.get_running_loop().create_future().set_exception(ConnectionResetError(SECRET))
            asyncio.get_running_loop().create_future().set_exception(KeyError(SECRET))
            gc.collect()
            await asyncio.sleep(0)
        run(main)
    """
    _, lines = said(program)
    told = [(line["level"], line["exception"][0]["type"]) for line in lines if line["event"] == "task_failed"]
    assert sorted(told) == [("error", "KeyError"), ("warning", "ConnectionResetError")]


def test_a_warning_is_an_event() -> None:
    program = """
        async def main():
            warnings.warn("an odd thing", ResourceWarning, source=None)
            warnings.warn("odd")
        run(main)
    """
    _, lines = said(program)
    assert any("odd" in line["event"] and line["level"] == "warning" for line in lines)


def test_what_cannot_start_says_so_in_plain_words_for_whoever_starts_it() -> None:
    program = "from servicekit.errors import StartupError\nfrom servicekit.process.run import run\n"
    program += "async def main():\n    raise StartupError('no port')\nrun(main)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "error: no port\n")
