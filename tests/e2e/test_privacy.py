"""Prompts, answers, keys and passwords come out nowhere (G11): canaries through every path, and a search of all output.

One platform gets every request of privacy_requests.py and is then hurt; what it has put out by then is searched once.
A new kind of output belongs into outputs.py, a new way through the platform into privacy_requests.py.
"""

from __future__ import annotations

import resource
import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from services import key_format
from tests.canaries import CUT, Canaries, Output
from tests.e2e.outputs import DEBUG, METRICS, core_files, metrics_url, outputs
from tests.e2e.platform import Platform, running, until
from tests.e2e.privacy_requests import ANSWERED, REFUSED, UPSTREAMS, Case, make
from tests.e2e.privacy_upstream import KEY_ENV, telling_upstream, write_models

SHOWN = (9, 4)  # characters of a key's beginning and end that lists show (docs/wire.md, "Keys")
pytestmark = pytest.mark.timeout(300)  # on a busy machine; a quiet one takes less than a minute

# What an error may repeat to the client that sent it (docs/wire.md, "Errors").
QUOTABLE = ("model of", "path of", "field name of", "property name of")
QUOTING = "the upstream's 400"  # whose message is the upstream's own, about the client's own words


@dataclass
class World:
    """The platform, who calls it, what they were answered, and what was put out in the end."""

    platform: Platform
    canaries: Canaries
    folder: Path
    site: str = ""
    callers: dict[str, str] = field(default_factory=dict)  # Authorization headers by name
    statuses: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    answers: list[tuple[Case, Output]] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    def send(self, case: Case) -> None:
        """Sends a case and remembers the answer."""
        path, headers, content = make(case, self.canaries)
        headers |= {"authorization": self.callers[case.whose]} if case.whose != "nobody" else {}
        if content is not None:
            content = content.replace(b"{site}", self.site.encode())
        url = self.platform.base_url.removesuffix("/v1") + path
        answer = httpx.request(case.method, url, headers=headers, content=content, timeout=60)
        code = answer.json()["error"]["code"] if answer.is_error else None
        self.statuses[case.name] = (answer.status_code, code)
        told = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.answers.append((case, Output(f"answer to “{case.name}”", told.encode() + b"\n\n" + answer.content)))


class Site(BaseHTTPRequestHandler):
    """A web site that has no images."""

    def do_GET(self) -> None:
        elsewhere = self.path.startswith("/redirect/")
        self.send_response(302 if elsewhere else 200)
        self.send_header("Location", self.path.removeprefix("/redirect"))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def core_files_wanted() -> Iterator[None]:
    """Processes that are started in this block may write core files, as those of a careless host may."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


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
        _introduce(world)
        for case in (*ANSWERED, *REFUSED, *UPSTREAMS):
            world.send(case)
        _leave_midway(world)
        _probe(world)
        _hurt(world)
        world.outputs = outputs(platform)
        platform.stop()
        world.outputs += _after_the_end(world)
        yield world


def _introduce(world: World) -> None:
    """Makes the callers, and lets the search know their keys and the platform's tokens."""
    platform, canaries = world.platform, world.canaries
    sound, poor = platform.account(credits=10**9, per_minute=100_000), platform.account(credits=1)
    keys = {
        "sound": sound.key,
        "poor": poor.key,
        "limited": platform.key(sound, monthly_credit_limit=1).secret,
        "narrow": platform.key(sound, allowed_models=["muh-chat"]).secret,
        "unknown": key_format.mint(secrets.token_bytes),
    }
    revoked = platform.key(sound)
    suspended = platform.account()
    platform.muhgpt("keys", "revoke", revoked.key.key_id)
    platform.muhgpt("accounts", "suspend", suspended.email)
    keys |= {"revoked": revoked.secret, "suspended": suspended.key}
    keys["mistyped"] = sound.key[:-1] + ("a" if sound.key[-1] != "a" else "b")
    keys["first"] = platform.first_key or ""
    world.callers = {name: f"Bearer {canaries.secret(f'{name} key', key, shown=SHOWN)}" for name, key in keys.items()}
    world.callers["stranger"] = f"Bearer sk-proj-{canaries.word('another provider’s key')}"
    world.callers["basic"] = f"Basic {canaries.word('password')}"
    for who in ("operator", "edge"):
        canaries.secret(f"{who} token", (platform.data_dir / f"{who}.token").read_text().strip())


def _leave_midway(world: World) -> None:
    """A client that goes after the first token."""
    with _stream(world, "a client that leaves") as lines:
        next(lines)


@contextmanager
def _stream(world: World, name: str) -> Iterator[Iterator[str]]:
    """A long answer's lines."""
    path, headers, content = make(Case(name, 200, _long), world.canaries)
    headers["authorization"] = world.callers["sound"]
    url = world.platform.base_url.removesuffix("/v1") + path
    with httpx.stream("POST", url, headers=headers, content=content, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        yield answer.iter_lines()


def _long(body: dict[str, Any], word: Any) -> dict[str, Any]:
    kept = {name: body[name] for name in ("model", "messages", "user")}
    return {**kept, "stream": True, "max_tokens": 1900, "logit_bias": {"2": -100}}


def _probe(world: World) -> None:
    """What is not HTTP, and what others may ask the metrics' ports."""
    word = world.canaries.word
    for service in METRICS:
        name = service.split("_")[1].lower()
        headers = {"accept": f"text/plain; version={word('metrics header')}", "x-canary": word("metrics header")}
        httpx.get(metrics_url(world.platform, name), params={"name[]": word("metrics query")}, headers=headers)


def _hurt(world: World) -> None:
    """Kills the llama worker in mid answer, as its own crash would, and services under it."""
    for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV):
        before = world.platform.llama_worker()
        with _stream(world, f"an answer that {number.name} ends") as lines:
            next(lines)
            before.send_signal(number)
            list(lines)
        until(lambda: _answers(world), 30, "the worker is back")


def _answers(world: World) -> bool:
    headers = {"authorization": world.callers["sound"]}
    body = {"messages": [{"role": "user", "content": world.canaries.word("a prompt while it is away")}]}
    url = f"{world.platform.base_url}/chat/completions"
    return httpx.post(url, headers=headers, json={**body, "max_tokens": 1}, timeout=60).status_code == 200


def _after_the_end(world: World) -> list[Output]:
    assert world.platform.process.stdout is not None
    said = world.platform.process.stdout.read().encode()
    return [Output("stdout of muhgpt up", said), *core_files(world.folder)]


def test_every_way_is_answered_as_it_should_be(world: World) -> None:
    expected = {case.name: (case.status, case.code) for case, _ in world.answers}
    for name, (status, code) in expected.items():
        told = world.statuses[name]
        assert told == (status, code if code is not None else told[1]), name
    assert {status for status, _ in expected.values()} >= {200, 400, 401, 402, 403, 404, 405, 413, 415, 431, 502}


def test_nothing_that_was_sent_is_in_any_output(world: World) -> None:
    assert len(world.outputs) > 20
    leaks = world.canaries.leaks_in(world.outputs)
    assert not leaks, "\n".join(map(str, leaks))


def test_no_answer_holds_what_others_sent_or_a_key_and_no_error_the_clients_own_words(world: World) -> None:
    for case, output in world.answers:
        for leak in world.canaries.leaks(output):
            error = world.statuses[case.name][0] >= 400 or "midway" in case.name
            own = leak.what.endswith(f"of “{case.name}”")
            quoted = leak.what.startswith(QUOTABLE) or case.name == QUOTING
            cut = leak.what == CUT and not error  # a model's answer may end in the middle of a word
            assert cut or (own and (quoted or not error)), str(leak)
