"""`python -m services.auth.main` as an operator starts and stops it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from muhgpt.auth.v1 import auth_pb2
from servicekit.rpc.client import connect
from tests.worlds.in_process.auth import Caller

OPERATOR = "operator-token-of-the-test"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "operator.token").write_text(OPERATOR)
    (tmp_path / "edge.token").write_text("edge-token-of-the-test")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUHGPT_")}
    return inherited | {
        "MUHGPT_AUTH_DATABASE_URL": f"sqlite:///{tmp_path}/auth.db",
        "MUHGPT_AUTH_OPERATOR_TOKEN_FILE": f"{tmp_path}/operator.token",
        "MUHGPT_AUTH_EDGE_TOKEN_FILE": f"{tmp_path}/edge.token",
        "MUHGPT_AUTH_ADDRESS_FILE": f"{tmp_path}/auth.address",
    }


async def start(environment: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.auth.main", env=environment, stderr=PIPE, stdout=PIPE
    )


async def refusal(environment: dict[str, str]) -> str:
    """What a process that cannot start says."""
    process = await start(environment)
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    assert process.returncode == 2
    assert "Traceback" not in said.decode()
    return said.decode()


async def address(environment: dict[str, str], process: Process) -> str:
    file = Path(environment["MUHGPT_AUTH_ADDRESS_FILE"])
    async with asyncio.timeout(20):
        while not file.exists():
            assert process.returncode is None
            await asyncio.sleep(0.02)
    return file.read_text()


async def test_it_serves_keeps_accounts_over_a_restart_and_ends_cleanly(environment: dict[str, str]) -> None:
    for number in range(2):
        process = await start(environment)
        peer = connect(await address(environment, process), token=OPERATOR)
        request = auth_pb2.CreateAccountRequest(email=f"user{number}@example.com")
        await Caller(peer).CreateAccount(request)
        listed = await Caller(peer).ListAccounts(auth_pb2.ListAccountsRequest())
        assert len(listed.accounts) == number + 1
        if number == 0:
            assert "another process uses" in await refusal(environment)
        await peer.close()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            _, logs = await process.communicate()
        assert process.returncode == 0
        assert b'"event":"serving"' in logs
        assert b"user0@example.com" not in logs
        Path(environment["MUHGPT_AUTH_ADDRESS_FILE"]).unlink()


async def test_it_says_what_is_wrong_with_its_settings(environment: dict[str, str]) -> None:
    said = await refusal(environment | {"MUHGPT_AUTH_SESION_TTL": "5", "MUHGPT_AUTH_DATABASE_SCHEMA": 'a"b'})
    assert "MUHGPT_AUTH_SESSION_TTL" in said
    assert "MUHGPT_AUTH_DATABASE_SCHEMA" in said


async def test_it_says_which_database_it_cannot_reach_without_the_password(environment: dict[str, str]) -> None:
    url = "postgresql://muhgpt:hunter2hunter2@127.0.0.1:9/muhgpt"
    said = await refusal(environment | {"MUHGPT_AUTH_DATABASE_URL": url})
    assert "MUHGPT_AUTH_DATABASE_URL" in said
    assert "127.0.0.1:9" in said
    assert "hunter2" not in said
