"""A container's only program has process id 1, and the kernel keeps from it the signals that it does not handle."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ALONE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
WAIT = 30.0  # seconds
STARTING = """
import asyncio, os
from servicekit.process.run import run
async def main():
    print(os.getpid(), flush=True)
    await asyncio.sleep(60)
run(main)
"""
SERVING = """
import asyncio, os, signal
from servicekit.process.run import run
async def main():
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    print(os.getpid(), flush=True)
    await asked.wait()
run(main)
"""


def _may() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, timeout=WAIT).returncode == 0


@pytest.mark.parametrize(("program", "code"), [(STARTING, 128 + signal.SIGTERM), (SERVING, 0)])
def test_sigterm_ends_it_while_it_starts_and_while_it_serves(program: str, code: int) -> None:
    if not _may():
        pytest.skip("this machine lets nobody make a process namespace (unshare --user --pid)")
    root = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [*ALONE, sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root, env=os.environ | {"PYTHONPATH": root}
    ) as outer:
        try:
            assert outer.stdout is not None
            assert outer.stdout.readline() == b"1\n"
            [inner] = psutil.Process(outer.pid).children()
            inner.send_signal(signal.SIGTERM)
            assert outer.wait(WAIT) == code
        finally:
            outer.kill()
