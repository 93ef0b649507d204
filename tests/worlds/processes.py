"""`muhgpt up` as a test starts it: a process of its own, in a data directory of its own, on a free port."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from openai import OpenAI

from muhgpt.auth.v1 import auth_pb2
from muhgpt_cli.commands.accounts import create_account
from muhgpt_cli.operator_client import Operator
from muhgpt_cli.system import find

Result = TypeVar("Result")

START = 90.0  # seconds until ready, on a busy machine
STOP = 60.0
MUHGPT = (sys.executable, "-m", "muhgpt_cli.main")


@dataclass
class Account:
    """An account with one key."""

    account_id: str
    email: str
    key_id: str
    key: str


@dataclass
class Platform:
    """A running system."""

    data_dir: Path
    base_url: str
    first_key: str | None
    process: subprocess.Popen[str]

    def muhgpt(self, *arguments: str) -> Any:
        """The JSON document of a command that must succeed."""
        answer = run_muhgpt(*arguments, "--json", "--data-dir", str(self.data_dir))
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def account(self, *, credits: int = 1_000_000, per_minute: int | None = None, **key: Any) -> Account:
        """A new account, with a key made with the fields in `key` (of CreateKeyRequest)."""
        return in_a_thread(self._account(credits, per_minute, key))

    def key(self, account: Account, **fields: Any) -> auth_pb2.CreateKeyResponse:
        """One more key of an account."""
        return in_a_thread(self._key(account.account_id, fields))

    async def _account(self, credits: int, per_minute: int | None, key: dict[str, Any]) -> Account:
        email = f"user-{secrets.token_hex(6)}@example.com"
        account = await create_account(find(self.data_dir), email, credits, per_minute)
        made = await self._key(account.account_id, key)
        return Account(account.account_id, email, made.key.key_id, made.secret)

    async def _key(self, account_id: str, fields: dict[str, Any]) -> auth_pb2.CreateKeyResponse:
        async with Operator(find(self.data_dir)) as operator:
            return await operator.auth.call("CreateKey", auth_pb2.CreateKeyRequest(account_id=account_id, **fields))

    def openai(self, key: str, **options: Any) -> OpenAI:
        """The official SDK, as a user would make it; no retries unless asked for."""
        return OpenAI(base_url=self.base_url, api_key=key, **{"max_retries": 0, "timeout": 60.0, **options})

    def usage(self, key: str) -> dict[str, Any]:
        """GET /v1/usage."""
        return self.get("/usage", key)

    def get(self, path: str, key: str) -> dict[str, Any]:
        """What a read endpoint below /v1 tells a key."""
        answer = httpx.get(f"{self.base_url}{path}", headers={"authorization": f"Bearer {key}"}, timeout=30)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def pid(self, name: str) -> int:
        """The process id of a service, as run.json tells it."""
        return int(json.loads((self.data_dir / "run.json").read_text())["pids"][name])

    def llama_worker(self) -> psutil.Process:
        """The process that runs llama.cpp."""
        for child in psutil.Process(self.pid("inference")).children(recursive=True):
            if any("llama.worker" in argument for argument in child.cmdline()):
                return child
        raise AssertionError("inference has no worker process")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it and returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP)


def in_a_thread(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine for a test that may run in an event loop itself."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result(START)


def run_muhgpt(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    environment = {**os.environ, **(env or {})}
    return subprocess.run([*MUHGPT, *arguments], capture_output=True, text=True, timeout=START, env=environment)


@contextmanager
def running(
    data_dir: Path,
    *options: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    program: tuple[str, ...] = MUHGPT,
) -> Iterator[Platform]:
    """Starts `muhgpt up --json`, waits until it is ready, and ends it."""
    command = [*program, "up", "--json", "--port", "0", "--data-dir", str(data_dir), *options]
    errors = (data_dir.parent / f"{data_dir.name}.stderr").open("w+")
    with (
        errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(env or {})}, cwd=cwd
        ) as process,
    ):
        try:
            ready = _first_line(process, errors.name)
            yield Platform(data_dir, ready["base_url"], ready["api_key"], process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(STOP)


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Polls until the condition is true and returns it; fails with `what` when it is not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return result


def _first_line(process: subprocess.Popen[str], errors: str) -> dict[str, Any]:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START)
    line = process.stdout.readline() if readable else ""
    if not line:
        raise AssertionError(f"muhgpt up was not ready within {START} s:\n{Path(errors).read_text()}")
    document: dict[str, Any] = json.loads(line)
    return document
