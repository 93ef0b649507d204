"""Services that a killed `muhgpt up` left behind, on systems that do not end them with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

from servicekit.clock import Clock

PATIENCE = 5.0  # seconds between SIGTERM and SIGKILL
POLL = 0.05


def end_leftovers(run: dict[str, Any], clock: Clock) -> None:
    """Ends the services named in a run.json whose `muhgpt up` has gone; they would hold databases and ports."""
    pids = [(name, pid) for name, pid in run.get("pids", {}).items() if _is_service(pid, name)]
    for _, pid in pids:
        _signal(pid, signal.SIGTERM)
    until = clock.monotonic() + PATIENCE
    while any(_is_service(pid, name) for name, pid in pids) and clock.monotonic() < until:
        time.sleep(POLL)
    for name, pid in pids:
        if _is_service(pid, name):
            _signal(pid, signal.SIGKILL)


def _is_service(pid: object, name: str) -> bool:
    """Whether the process runs that service; a number may have been taken by another program since."""
    if not isinstance(pid, int):
        return False
    listing = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return f"services.{name}.main" in listing.stdout


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        if number is signal.SIGKILL:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return
