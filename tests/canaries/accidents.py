"""What breaks around requests: connections, databases, processes; each while canaries are on their way."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil

from muhgpt.auth.v1 import auth_pb2
from muhgpt.quota.v1 import quota_pb2
from muhgpt_cli.errors import CallFailed
from muhgpt_cli.operator_client import Operator
from muhgpt_cli.system import find
from tests.canaries.requests import chat
from tests.canaries.world import World
from tests.worlds.processes import in_a_thread, until

LONG = "Count to a hundred, and tell me of "


def accidents(lived: World, key: str, database: str) -> None:
    """All of them, one after the other; the platform is whole again after each."""
    raw_bytes(lived)
    operators_mistakes(lived)
    tables_gone(lived, key, database)
    for name in ("quota", "auth"):
        service_stands_still(lived, key, name)
    for name in ("llama worker", "edge worker", *("auth", "quota", "inference")):
        process_killed(lived, key, name)


def ask(lived: World, key: str, where: str, content: str = LONG, **fields: object) -> int:
    """One chat with a canary; the status, 0 when the connection broke."""
    mark = lived.marks.plant(where)
    try:
        answer = httpx.post(
            f"{lived.platform.base_url}/chat/completions",
            content=chat(mark, content + mark, **fields),
            headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
            timeout=60,
        )
    except httpx.HTTPError:
        return 0
    lived.answers[mark] = answer.content
    return answer.status_code


def works(lived: World, key: str) -> bool:
    """A request is answered, and so would be one that the other edge worker takes: each finds its peers by itself."""
    return ask(lived, key, "a request in between", max_tokens=2) == 200 and lived.connected()


def raw_bytes(lived: World) -> None:
    """What is no HTTP, and bodies that end too soon."""
    for where, text in {
        "request line": "MARK MARK\r\n\r\n",
        "header line": "GET /v1/models HTTP/1.1\r\nhost: a\r\nMARK\r\n\r\n",
        "half a body": "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer MARK\r\n"
        'content-type: application/json\r\ncontent-length: 999\r\n\r\n{"model": "MARK"',
        "bad chunk": "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nMARK\r\nMARK",
    }.items():
        mark, address = lived.marks.plant(where), urlsplit(lived.platform.base_url)
        with socket.create_connection((address.hostname, address.port), 10) as connection:
            connection.sendall(text.replace("MARK", mark).encode())
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(30)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        lived.answers[mark] = answer


def operators_mistakes(lived: World) -> None:
    """gRPC calls whose arguments are refused, and one with a token that is none."""

    async def call() -> None:
        async with Operator(find(lived.platform.data_dir)) as operator:
            mark = lived.marks.plant("operator's argument")
            for peer, method, request in (
                (operator.auth, "CreateAccount", auth_pb2.CreateAccountRequest(email=mark)),
                (operator.auth, "GetAccount", auth_pb2.GetAccountRequest(account_id=mark)),
                (operator.auth, "RevokeKey", auth_pb2.RevokeKeyRequest(key_id=mark)),
                (operator.quota, "Grant", quota_pb2.GrantRequest(grant_id=mark * 9, account_id=mark, credits=1)),
                (operator.quota, "ListCharges", quota_pb2.ListChargesRequest(account_id=mark, page_token=mark)),
            ):
                try:
                    await peer.call(method, request)
                except CallFailed as failure:
                    lived.answers[mark] = str(failure).encode()
                else:
                    raise AssertionError(f"{method} took {request}")

    in_a_thread(call())


def tables_gone(lived: World, key: str, database: str) -> None:
    """Statements that fail with their parameters in the driver's text: an unhandled exception in auth and in quota."""

    async def rename(*pairs: tuple[str, str]) -> None:
        connection = await asyncpg.connect(database)
        try:
            for table, name in pairs:
                await connection.execute(f"ALTER TABLE {table} RENAME TO {name}")
        finally:
            await connection.close()

    in_a_thread(rename(("auth.accounts", "gone"), ("quota.charges", "gone")))
    try:

        async def create() -> str:
            request = auth_pb2.CreateAccountRequest(email=f"{lived.marks.plant('e-mail address')}@example.com")
            async with Operator(find(lived.platform.data_dir)) as operator:
                try:
                    await operator.auth.call("CreateAccount", request)
                except CallFailed as failure:
                    return str(failure)
            return "created"

        assert "its log says why" in in_a_thread(create())
        assert ask(lived, key, "quota without its table") in (503, 502)
    finally:
        in_a_thread(rename(("auth.gone", "accounts"), ("quota.gone", "charges")))
    until(lambda: works(lived, key), 60, "the tables are back")


def service_stands_still(lived: World, key: str, name: str) -> None:
    """Its peers' deadlines pass."""
    pid = lived.platform.pid(name)
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: ask(lived, key, f"{name} stands still") in (502, 503), 60, f"without {name}")
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: works(lived, key), 60, f"{name} goes on")


def process_killed(lived: World, key: str, name: str) -> None:
    """SIGKILL while an answer runs."""
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(ask, lived, key, f"{name} killed", max_tokens=400, stream=True) for _ in range(3)]
        time.sleep(0.2)  # whether they have begun or not, nothing may be said
        for pid in pids(lived, name):
            os.kill(pid, signal.SIGKILL)
        statuses = {each.result(90) for each in running}
        assert statuses <= {200, 502, 503, 0}, name
    until(lambda: works(lived, key), 60, f"{name} is back")


def pids(lived: World, name: str) -> list[int]:
    if name == "llama worker":
        family = psutil.Process(lived.platform.pid("inference")).children(recursive=True)
        return [each.pid for each in family if any("engines.llama.worker" in word for word in each.cmdline())]
    if name == "edge worker":
        children = psutil.Process(lived.platform.pid("edge")).children()
        return [child.pid for child in children if any("spawn_main" in word for word in child.cmdline())][:1]
    return [lived.platform.pid(name)]


def parsed(line: str) -> dict[str, object]:
    """A log line. Fails when it is no JSON object."""
    event = json.loads(line)
    assert isinstance(event, dict)
    return event
