"""Prompts, answers, keys and passwords come out nowhere (G11): canaries through every path, and a search of all output.

One platform gets every request of privacy_requests.py and is then hurt; what it has put out by then is searched once.
A new kind of output belongs into outputs.py, a new way through the platform into privacy_requests.py.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests.canary_words import Canaries, Output
from tests.e2e.outputs import DEBUG, METRICS, SERVICES, metrics_url
from tests.e2e.privacy_requests import ANSWERED, AWAY, REFUSED, UPSTREAMS
from tests.e2e.privacy_upstream import KEY_ENV, telling_upstream, write_models
from tests.e2e.privacy_world import World, core_files_wanted, site
from tests.worlds.processes import run_muhgpt, running, until

# On a busy machine; a quiet one takes less than a minute. tests/canaries holds G11 in every run.
pytestmark = [pytest.mark.timeout(300), pytest.mark.long]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, projector: Path) -> Iterator[World]:
    """After everything was sent and everything was hurt."""
    folder, canaries = tmp_path_factory.mktemp("privacy"), Canaries()
    key_file = folder / "upstream.key"
    key_file.write_text(canaries.word("the upstream's key (key_file)") + "\n")
    env = {KEY_ENV: canaries.word("the upstream's key (key_env)"), "MUHGPT_INFERENCE_IMAGES_ALLOWED": "127.0.0.1"}
    with ExitStack() as stack:
        upstream, address = stack.enter_context(telling_upstream()), stack.enter_context(site())
        extra = canaries.word("the upstream's other header")
        models = write_models(
            folder / "models.yaml", url=upstream.url, projector=projector, key_file=key_file, extra=extra
        )
        stack.enter_context(core_files_wanted())
        platform = stack.enter_context(
            running(folder / "data", "--models", str(models), env={**env, **METRICS, **DEBUG}, cwd=folder)
        )
        world = World(platform, canaries, folder, address)
        world.introduce()
        for case in (*ANSWERED, *REFUSED, *UPSTREAMS):
            world.send(case)
        with world.stream("a client that leaves") as lines:
            next(lines)
        _command(world)
        _probe(world)
        _freeze(world)
        _kill(world)
        world.finish()
        yield world


def _command(world: World) -> None:
    """What an operator or a user at a terminal may type."""
    word, data_dir = world.canaries.word, str(world.platform.data_dir)
    sound = world.callers["sound"].removeprefix("Bearer ")
    for arguments, env in [
        (["chat", word("prompt at a terminal"), "--max-tokens", "4"], {"MUHGPT_API_KEY": sound}),
        (["chat", word("prompt at a terminal")], {"MUHGPT_API_KEY": f"mghp_{word('a broken key')}\nb"}),
        (["chat", word("prompt at a terminal")], {"MUHGPT_API_KEY": f"mghp_{word('a broken key')}é"}),
        *((["keys", "list"], {"MUHGPT_CLI_OPERATOR_TOKEN": word("operator token") + end}) for end in ("", "\nb", "é")),
        (["keys", "list", "--data-dir", data_dir], {}),
        (["doctor", "--data-dir", data_dir], {}),
    ]:
        answer = run_muhgpt(*arguments, env={**_addresses(world), **env})
        said = f"{answer.stdout}\n{answer.stderr}"
        world.outputs.append(Output(f"muhgpt {arguments[0]}, exit code {answer.returncode}", said.encode()))


def _addresses(world: World) -> dict[str, str]:
    run = json.loads((world.platform.data_dir / "run.json").read_text())
    told = {f"MUHGPT_CLI_{name.upper()}_ADDRESS": address for name, address in run["addresses"].items()}
    told.pop("MUHGPT_CLI_EDGE_ADDRESS")
    return {**told, "MUHGPT_CLI_BASE_URL": run["base_url"]}


def _probe(world: World) -> None:
    """What anybody may ask the metrics' ports."""
    word = world.canaries.word
    for name in SERVICES:
        headers = {"accept": f"text/plain; version={word('metrics header')}", "x-canary": word("metrics header")}
        httpx.get(metrics_url(world.platform, name), params={"name[]": word("metrics query")}, headers=headers)


def _freeze(world: World) -> None:
    """Quota and auth do not answer: 503."""
    for name, case in AWAY.items():
        process = psutil.Process(world.platform.pid(name))
        process.suspend()
        try:
            world.send(case)
        finally:
            process.resume()
        until(world.works, 30, f"{name} is back")


def _kill(world: World) -> None:
    """The llama worker in mid answer, as its own crash would, then each service."""
    for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV):
        worker = world.platform.llama_worker()
        with world.stream(f"an answer that the worker's {number.name} ends") as lines:
            next(lines)
            worker.send_signal(number)
            list(lines)
        until(world.works, 30, "the worker is back")
    with world.stream("an answer that the crash of all services ends") as lines:
        next(lines)
        for name in SERVICES:
            os.kill(world.platform.pid(name), signal.SIGSEGV)
    until(world.works, 60, "all are back")


def test_every_way_is_answered_as_it_should_be(world: World) -> None:
    assert world.wrong_statuses() == []
    statuses = {status for status, _ in world.statuses.values()}
    assert statuses == {200, 400, 401, 402, 403, 404, 405, 413, 415, 429, 431, 502, 503}


def test_nothing_that_was_sent_is_in_any_output(world: World) -> None:
    assert len(world.outputs) > 20
    leaks = world.canaries.leaks_in(world.outputs)
    assert not leaks, "\n".join(map(str, leaks))


def test_no_answer_holds_what_others_sent_or_a_key_and_no_error_the_clients_own_words(world: World) -> None:
    leaks = world.leaks_in_answers()
    assert not leaks, "\n".join(map(str, leaks))
