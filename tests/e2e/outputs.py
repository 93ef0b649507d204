"""Everything that a running platform puts out, for tests that search it. Add to COLLECTORS what else there comes to be.

What a client is answered is no output in this sense; the tests look at answers one by one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil

from tests.canary_words import Output
from tests.worlds.processes import Platform

SERVICES = ("auth", "quota", "inference", "edge")
METRICS = {f"MUHGPT_{name.upper()}_METRICS_LISTEN": "127.0.0.1:0" for name in SERVICES}
DEBUG = {f"MUHGPT_{name.upper()}_LOG_LEVEL": "debug" for name in SERVICES}

Collector = Callable[[Platform], Iterator[Output]]


def family(platform: Platform) -> list[psutil.Process]:
    """`muhgpt up` and all that it started."""
    head = psutil.Process(platform.process.pid)
    return [head, *head.children(recursive=True)]


def logs(platform: Platform) -> Iterator[Output]:
    """Standard output and standard error of every process: the log files, and what `muhgpt up` said."""
    for path in sorted((platform.data_dir / "logs").iterdir()):
        yield Output(f"logs/{path.name}", path.read_bytes())
    yield Output("stderr of muhgpt up", (platform.data_dir.parent / f"{platform.data_dir.name}.stderr").read_bytes())


def metrics(platform: Platform) -> Iterator[Output]:
    """/metrics of every service, started with METRICS in its environment."""
    for name in SERVICES:
        yield Output(f"metrics of {name}", httpx.get(metrics_url(platform, name), timeout=30).content)


def metrics_url(platform: Platform, name: str) -> str:
    """Where a service shows its metrics: its only port, beside the one of the edge that run.json tells."""
    address = json.loads((platform.data_dir / "run.json").read_text())["addresses"][name]
    served = int(address.rpartition(":")[2]) if name == "edge" else 0
    listening = {
        connection.laddr.port
        for connection in psutil.Process(platform.pid(name)).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    [port] = listening - {served}
    return f"http://127.0.0.1:{port}/metrics"


def command_lines(platform: Platform) -> Iterator[Output]:
    """What `ps` shows to every user of the machine."""
    for process in family(platform):
        yield Output(f"command line of {process.pid}", "\0".join(process.cmdline()).encode())


def files(platform: Platform) -> Iterator[Output]:
    """The data directory without tokens and logs: run.json, addresses, databases with their journals."""
    for path in sorted(platform.data_dir.rglob("*")):
        if path.is_file() and path.suffix not in (".token", ".log"):
            yield Output(str(path.relative_to(platform.data_dir)), path.read_bytes())


def core_files(folder: Path) -> Iterator[Output]:
    """Memory that a crash has written down."""
    for path in folder.rglob("core*"):
        if path.is_file():
            yield Output(f"core file {path.name}", path.read_bytes())


COLLECTORS: list[Collector] = [logs, metrics, command_lines, files]


def outputs(platform: Platform) -> list[Output]:
    """All of it, as it is now."""
    return [output for collect in COLLECTORS for output in collect(platform)]
