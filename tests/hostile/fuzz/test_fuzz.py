"""Random input by grammar, for a minute in CI and for ten in `make hostile`: nothing dies, nothing takes for ever."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from common import gguf
from common.model_list import parse_model_list
from servicekit.errors import StartupError
from tests.hostile.arena import Arena
from tests.hostile.fuzz.fuzzing import fuzz
from tests.hostile.fuzz.grammars import CHAT_BODIES, MODEL_FILES, MODEL_LISTS, WRITES
from tests.hostile.wire import describe, get

pytestmark = pytest.mark.timeout(900)

FINE = {200, 400, 402, 404, 408, 413, 415, 422, 429}
MAX_ERROR_BYTES = 4096
SLOW = 10.0  # seconds that one body may take beside the victim and the engine
PROMPT = 2.0  # seconds of CPU time of a reader of files
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) [A-Z]")
SILENCE = 0.3  # seconds after which a server is taken to wait for more


def test_chat_bodies(shared: Arena) -> None:
    before = shared.processes()
    headers = {
        "authorization": f"Bearer {shared.platform.account(credits=10**9, per_minute=100_000).key}",
        "content-type": "application/json",
    }
    with httpx.Client(base_url=shared.platform.base_url, headers=headers, timeout=60) as client:

        def check(body: bytes) -> None:
            began = time.monotonic()
            answer = client.post("/chat/completions", content=body)
            assert answer.status_code in FINE or describe_overload(answer), answer.text[:500]
            assert answer.status_code == 200 or len(answer.content) <= MAX_ERROR_BYTES
            assert time.monotonic() - began < SLOW

        assert fuzz("chat bodies", CHAT_BODIES, check) > 0
    assert not before - shared.processes()


def describe_overload(answer: httpx.Response) -> bool:
    """A 503 that asks to come back: the engine is shared with the victim."""
    return answer.status_code == 503 and answer.json()["error"]["code"] == "engine_overloaded"


def test_http_messages(shared: Arena) -> None:
    before = shared.processes()

    def check(writes: list[bytes]) -> None:
        read = talk(shared, writes)
        statuses = STATUS_LINE.findall(read)
        assert all(status[:1] in b"1234" or status in (b"501", b"505") for status in statuses), (statuses, read[:500])

    assert fuzz("HTTP messages", WRITES, check) > 0
    with socket.create_connection((shared.target.host, shared.target.port), timeout=10) as after:
        after.sendall(get("/healthz"))
        assert describe(after.recv(65536)) == "200"
    assert not before - shared.processes()


def talk(shared: Arena, writes: list[bytes]) -> bytes:
    """What comes back for these writes, until the server closes or waits for more."""
    read = b""
    with socket.socket() as sock, suppress(ConnectionError, TimeoutError):
        sock.bind(("127.0.0.3", 0))
        sock.settimeout(5.0)
        sock.connect((shared.target.host, shared.target.port))
        for each in writes:
            sock.sendall(each)
        sock.settimeout(SILENCE)
        while data := sock.recv(65536):
            read += data
    return read


@pytest.mark.beside
def test_model_lists(tmp_path: Path) -> None:
    def check(text: str) -> None:
        began = time.thread_time()
        with suppress(StartupError):
            parse_model_list(text, tmp_path / "models.yaml")
        assert time.thread_time() - began < PROMPT

    assert fuzz("model lists", MODEL_LISTS, check) > 0


@pytest.mark.beside
def test_model_files(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"

    def check(data: bytes) -> None:
        began = time.thread_time()
        file.write_bytes(data)
        for read in (gguf.facts, gguf.control_tokens, gguf.sampling):
            with suppress(StartupError):
                read(file)
        assert time.thread_time() - began < PROMPT

    assert fuzz("model files", MODEL_FILES, check) > 0
