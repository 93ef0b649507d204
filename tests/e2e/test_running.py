"""Starting, crashing, stopping: what an operator does to the platform, and what happens to it."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from openai import OpenAI

from tests.worlds.processes import Platform, run_muhgpt, running, until

HELLO = {"model": "muh-chat", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}
LONG = {"model": "muh-chat", "messages": [{"role": "user", "content": "Count to a hundred."}]}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Platform]:
    """A platform that the test may break."""
    with running(tmp_path / "data") as platform:
        yield platform


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose services several tests kill, one after the other."""
    with running(tmp_path_factory.mktemp("shaken") / "data") as platform:
        yield platform


def works(client: OpenAI) -> bool:
    """Whether a request is answered; if not, it must be a 502 or 503."""
    try:
        client.chat.completions.create(**HELLO)
    except openai.InternalServerError as error:
        if error.status_code not in (502, 503):
            raise
        return False
    return True


def outcome(client: OpenAI) -> int:
    try:
        client.chat.completions.create(**LONG)
    except openai.APIStatusError as error:
        return error.status_code
    return 200


def test_killing_the_llama_worker_ends_the_stream_it_had_and_it_is_back_within_seconds(own: Platform) -> None:
    """Requests that it was preparing beside each other are prepared once more by its successor: 502, or answered."""
    account = own.account()
    worker = own.llama_worker()
    with own.openai(account.key) as client, ThreadPoolExecutor(3) as pool:
        stream = client.chat.completions.create(**LONG, n=8, stream=True)  # is not over before the worker is stopped
        waiting: list[Future[int]] = [pool.submit(outcome, client) for _ in range(3)]
        next(stream)
        worker.send_signal(signal.SIGSTOP)  # so that what is running now is running still when the worker dies
        had = _not_done(waiting)
        worker.kill()
        with pytest.raises(openai.APIError):
            list(stream)
        assert {future.result(30) for future in had} <= {200, 502}
        until(lambda: works(client), 15, "the worker is back")
    assert own.llama_worker().pid != worker.pid
    until(lambda: own.muhgpt("usage", "--account", account.email)["held"] == 0, 35, "all holds have ended")
    assert own.muhgpt("doctor")["ok"] is True


@pytest.mark.parametrize("name", ["auth", "quota", "inference", "edge"])
def test_a_service_killed_with_signal_9_is_back_at_its_address_within_seconds(shaken: Platform, name: str) -> None:
    key = shaken.account().key
    before = shaken.pid(name)
    os.kill(before, signal.SIGKILL)
    until(lambda: shaken.pid(name) != before, 15, f"{name} was started again")
    with shaken.openai(key) as client:
        until(lambda: works(client), 15, f"requests are answered after {name} came back")
    assert shaken.muhgpt("doctor")["ok"] is True


def test_sigterm_ends_cleanly_and_leaves_no_process(tmp_path: Path) -> None:
    with running(tmp_path / "data") as platform:
        family = psutil.Process(platform.process.pid).children(recursive=True)
        assert len(family) >= 5
        assert platform.stop() == 0
        _, alive = psutil.wait_procs(family, timeout=5)
        assert alive == []
        assert not (tmp_path / "data" / "run.json").exists()


def test_killing_up_itself_leaves_no_process_and_the_next_start_works(tmp_path: Path) -> None:
    with running(tmp_path / "data") as platform:
        family = psutil.Process(platform.process.pid).children(recursive=True)
        assert platform.stop(signal.SIGKILL) == -signal.SIGKILL
        _, alive = psutil.wait_procs(family, timeout=20)
        assert alive == []
    with running(tmp_path / "data") as platform:
        assert platform.first_key is None
        assert platform.muhgpt("doctor")["ok"] is True


def test_a_stream_that_is_open_at_sigterm_is_finished(own: Platform) -> None:
    with own.openai(own.account().key) as client:
        stream = client.chat.completions.create(**LONG, stream=True)
        next(stream)
        own.process.send_signal(signal.SIGTERM)
        *_, last = stream
    assert last.choices[0].finish_reason in ("stop", "length")
    assert last.usage is not None
    assert own.process.wait(30) == 0


@pytest.mark.long
def test_a_second_start_shows_no_key_and_keeps_keys_and_balances(tmp_path: Path) -> None:
    with running(tmp_path / "data") as platform:
        key = platform.first_key
        assert key is not None
        with platform.openai(key) as client:
            client.chat.completions.create(**HELLO)
        before = platform.usage(key)
        assert before["balance"] < 14_000_000
    with running(tmp_path / "data") as platform:
        assert platform.first_key is None
        assert platform.usage(key) == before


def test_a_second_up_in_the_same_directory_is_refused(platform: Platform) -> None:
    answer = run_muhgpt("up", "--port", "0", "--data-dir", str(platform.data_dir))
    assert answer.returncode == 1
    assert f"already runs in {platform.data_dir} (process {platform.process.pid}" in answer.stderr
    assert platform.muhgpt("doctor")["ok"] is True


@pytest.mark.long
def test_a_proxy_for_the_outside_world_is_not_used_on_this_machine(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    with running(tmp_path / "data", env=nowhere) as platform:
        data_dir = ("--data-dir", str(platform.data_dir))
        assert run_muhgpt("doctor", *data_dir, env=nowhere).returncode == 0
        assert platform.first_key is not None
        answer = run_muhgpt("chat", "Hello!", "--key", platform.first_key, *data_dir, env=nowhere)
        assert (answer.returncode, bool(answer.stdout)) == (0, True)


@pytest.mark.long
def test_several_workers_serve_one_port(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--workers", "2") as platform:
        account = platform.account(per_minute=5)
        with platform.openai(account.key) as client, ThreadPoolExecutor(4) as pool:
            statuses = [future.result(60) for future in [pool.submit(_status, client) for _ in range(12)]]
        assert sorted(statuses) == [200] * 5 + [429] * 7
        assert platform.muhgpt("doctor")["ok"] is True


def test_secrets_and_databases_are_for_their_owner_alone_and_logs_hold_none_of_it(platform: Platform) -> None:
    account = platform.account()
    with platform.openai(account.key) as client:
        canary = "periwinkle-canary-4711"
        client.chat.completions.create(**{**HELLO, "messages": [{"role": "user", "content": canary}]})
    for path in [platform.data_dir, *platform.data_dir.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    secrets = [account.key, canary, *((platform.data_dir / f"{who}.token").read_text().strip() for who in _TOKENS)]
    for log in (platform.data_dir / "logs").iterdir():
        text = log.read_text()
        assert not [secret for secret in secrets if secret in text], log


def test_run_json_tells_where_everything_is(platform: Platform) -> None:
    run: dict[str, Any] = json.loads((platform.data_dir / "run.json").read_text())
    assert run["pid"] == platform.process.pid
    assert run["base_url"] == platform.base_url
    assert set(run["addresses"]) == set(run["pids"]) == {"auth", "quota", "inference", "edge"}


def test_no_service_has_a_port_that_a_stranger_could_take_when_it_dies(platform: Platform) -> None:
    """Nor can another user of the machine reach the sockets that they have instead."""
    run: dict[str, Any] = json.loads((platform.data_dir / "run.json").read_text())
    for name in ("auth", "quota", "inference"):
        assert run["addresses"][name].startswith("unix:/")
        socket = Path(run["addresses"][name].removeprefix("unix:"))
        assert stat.S_ISSOCK(socket.stat().st_mode)
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        ports = psutil.Process(platform.pid(name)).net_connections("tcp")
        assert not [port for port in ports if port.status == psutil.CONN_LISTEN]


_TOKENS = ("operator", "edge")


def _status(client: OpenAI) -> int:
    try:
        client.chat.completions.create(**HELLO)
    except openai.APIStatusError as error:
        return error.status_code
    return 200


def _not_done(futures: list[Future[int]]) -> list[Future[int]]:
    """Those that wait for the worker: what had been answered already arrives within some milliseconds."""
    counts = [sum(future.done() for future in futures)]

    def settled() -> bool:
        counts.append(sum(future.done() for future in futures))
        return len(counts) > 5 and len(set(counts[-5:])) == 1

    until(settled, 10, "answers under way have arrived")
    return [future for future in futures if not future.done()]
