"""A platform that gets canaries: who calls it, what they were answered, and what it had put out in the end."""

from __future__ import annotations

import resource
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from common import key_format
from tests.canary_words import CUT, Canaries, Leak, Output
from tests.e2e.outputs import core_files, outputs
from tests.e2e.privacy_requests import Case, long_answer, make
from tests.worlds.processes import Platform

SHOWN = (9, 4)  # characters of a key's beginning and end that lists show (docs/wire.md, "Keys")
# What an error may repeat to the client that sent it (docs/wire.md, "Errors").
QUOTABLE = ("model of", "path of", "field name of", "property name of")
QUOTING = "the upstream's 400"  # whose message is the upstream's own, about the client's own words


@dataclass
class World:
    """One running platform, all that it was sent and all that came of it."""

    platform: Platform
    canaries: Canaries
    folder: Path
    site: str = ""
    callers: dict[str, str] = field(default_factory=dict)  # Authorization headers by name
    statuses: dict[str, tuple[int, str | None]] = field(default_factory=dict)  # status and error code by case
    answers: list[tuple[Case, Output]] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    def introduce(self) -> None:
        """Makes the callers, and lets the search know their keys and the platform's tokens."""
        platform, canaries = self.platform, self.canaries
        sound, suspended = platform.account(credits=10**9, per_minute=100_000), platform.account()
        revoked = platform.key(sound)
        keys = {
            "sound": sound.key,
            "poor": platform.account(credits=1).key,
            "slow": platform.account(per_minute=1).key,
            "limited": platform.key(sound, monthly_credit_limit=1).secret,
            "narrow": platform.key(sound, allowed_models=["muh-chat"]).secret,
            "unknown": key_format.mint(secrets.token_bytes),
            "revoked": revoked.secret,
            "suspended": suspended.key,
            "mistyped": sound.key[:-1] + ("a" if sound.key[-1] != "a" else "b"),
            "first": platform.first_key or "",
        }
        platform.muhgpt("keys", "revoke", revoked.key.key_id)
        platform.muhgpt("accounts", "suspend", suspended.email)
        for name, key in keys.items():
            self.callers[name] = f"Bearer {canaries.secret(f'{name} key', key, shown=SHOWN)}"
        self.callers["stranger"] = f"Bearer sk-proj-{canaries.word('another provider’s key')}"
        self.callers["basic"] = f"Basic {canaries.word('password')}"
        for who in ("operator", "edge"):
            canaries.secret(f"{who} token", (platform.data_dir / f"{who}.token").read_text().strip())

    def send(self, case: Case) -> None:
        """Sends a case and remembers the answer."""
        path, headers, content = self._made(case)
        answer = httpx.request(case.method, self._url(path), headers=headers, content=content, timeout=60)
        code = answer.json()["error"]["code"] if answer.is_error else None
        self.statuses[case.name] = (answer.status_code, code)
        told = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.answers.append((case, Output(f"answer to “{case.name}”", told.encode() + b"\n\n" + answer.content)))

    @contextmanager
    def stream(self, name: str) -> Iterator[Iterator[str]]:
        """The lines of a long answer; its error event is remembered as any answer."""
        case = Case(name, 200, long_answer)
        path, headers, content = self._made(case)
        with httpx.stream("POST", self._url(path), headers=headers, content=content, timeout=60) as answer:
            assert answer.status_code == 200, answer.read()
            yield answer.iter_lines()

    def works(self) -> bool:
        """Whether a request is answered now."""
        body = {"messages": [{"role": "user", "content": self.canaries.word("a prompt while something is away")}]}
        headers = {"authorization": self.callers["sound"]}
        url = self._url("/v1/chat/completions")
        try:
            return httpx.post(url, headers=headers, json={**body, "max_tokens": 1}, timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def finish(self) -> None:
        """Stops the platform and takes all that it has put out."""
        self.outputs += outputs(self.platform)
        self.platform.stop()
        assert self.platform.process.stdout is not None
        self.outputs.append(Output("stdout of muhgpt up", self.platform.process.stdout.read().encode()))
        self.outputs += core_files(self.folder)

    def wrong_statuses(self) -> list[str]:
        """Cases that were not answered as they should be: then they have not gone where they were to go."""
        return [
            f"{case.name}: {self.statuses[case.name]} instead of {case.status}"
            for case, _ in self.answers
            if self.statuses[case.name][0] != case.status
            or (case.code is not None and self.statuses[case.name][1] != case.code)
        ]

    def leaks_in_answers(self) -> list[Leak]:
        """Keys, what others have sent, and of a client's own words those in errors that docs/wire.md does not allow."""
        found = ((case, leak) for case, output in self.answers for leak in self.canaries.leaks(output))
        return [leak for case, leak in found if not self._may(case, leak)]

    def _may(self, case: Case, leak: Leak) -> bool:
        error = self.statuses[case.name][0] >= 400 or "midway" in case.name
        own = leak.what.endswith(f"of “{case.name}”")
        quoted = leak.what.startswith(QUOTABLE) or case.name == QUOTING
        cut = leak.what == CUT and not error  # a model's answer may end in the middle of a word
        return cut or (own and (quoted or not error))

    def _made(self, case: Case) -> tuple[str, dict[str, str], bytes | None]:
        path, headers, content = make(case, self.canaries)
        if case.whose != "nobody":
            headers["authorization"] = self.callers[case.whose]
        return path, headers, content and content.replace(b"{site}", self.site.encode())

    def _url(self, path: str) -> str:
        return self.platform.base_url.removesuffix("/v1") + path


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
    """The address of such a site."""
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
