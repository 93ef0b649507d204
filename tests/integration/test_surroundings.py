"""Each service as a process whose output goes nowhere, or that may open few files only."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from muhgpt.auth.v1 import auth_pb2
from servicekit.rpc.client import Peer, connect
from servicekit.rpc.status import RpcFailure
from tests.worlds.in_process.auth import Caller

OPERATOR = "operator-token-of-the-test"
ENOUGH = 60.0  # seconds for a process to start on a busy machine
SERVICES = ("auth", "quota", "inference", "edge")
# How a shell starts a service whose output takes nothing.
OUTPUTS = {
    "closed": 'exec "$@" <&- >&- 2>&-',
    "full": 'exec "$@" >/dev/full 2>&1',
    "for reading": 'exec "$@" 1</dev/null 2</dev/null',
}
FEW = 'ulimit -n 64; exec "$@"'
MODELS = """
models:
  far:
    context_length: 4096
    price: {input: 1, output: 1}
    targets:
      - {engine: upstream, base_url: "http://127.0.0.1:9/v1", model: far}
"""


def environment(service: str, folder: Path) -> dict[str, str]:
    (folder / "operator.token").write_text(OPERATOR)
    (folder / "edge.token").write_text("edge-token-of-the-test")
    (folder / "models.yaml").write_text(MODELS)
    settings = {
        "LISTEN": "127.0.0.1:0",
        "ADDRESS_FILE": f"{folder}/address",
        "EDGE_TOKEN_FILE": f"{folder}/edge.token",
        "DRAIN_TIMEOUT": "2",
    }
    if service != "edge":
        settings["OPERATOR_TOKEN_FILE"] = f"{folder}/operator.token"
    if service in ("auth", "quota"):
        settings["DATABASE_URL"] = f"sqlite:///{folder}/{service}.db"
    if service in ("quota", "inference"):
        settings["MODELS_FILE"] = f"{folder}/models.yaml"
    if service == "edge":
        settings |= {f"{peer}_ADDRESS": "127.0.0.1:1" for peer in ("AUTH", "QUOTA", "INFERENCE")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUHGPT_")}
    return {**kept, **{f"MUHGPT_{service.upper()}_{name}": value for name, value in settings.items()}}


@asynccontextmanager
async def started(service: str, folder: Path, shell: str, output: int | None = None) -> AsyncIterator[str]:
    """The address of a process that serves; it must live until the end, and end cleanly."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", shell, "sh", sys.executable, "-m", f"services.{service}.main"),
        env=environment(service, folder),
        stdout=output,
        stderr=output,
    )
    try:
        async with asyncio.timeout(ENOUGH):
            while not (folder / "address").exists():
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield (folder / "address").read_text()
        assert process.returncode is None
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), ENOUGH) == 0


async def serves(service: str, address: str) -> None:
    if service == "edge":
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        return
    peer = connect(address)
    await healthy(peer)
    await peer.close()


async def healthy(peer: Peer) -> None:
    stub = health_pb2_grpc.HealthStub(peer.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=ENOUGH, wait_for_ready=True)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("how", OUTPUTS)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_whose_output_goes_nowhere_serves(tmp_path: Path, service: str, how: str) -> None:
    async with started(service, tmp_path, OUTPUTS[how]) as address:
        await serves(service, address)


async def test_a_revocation_is_in_force_although_nothing_can_be_logged(tmp_path: Path) -> None:
    async with started("auth", tmp_path, OUTPUTS["full"]) as address:
        peer = connect(address, token=OPERATOR)
        operator = Caller(peer)
        account = (await operator.CreateAccount(auth_pb2.CreateAccountRequest(email="ada@example.com"))).account
        key = (await operator.CreateKey(auth_pb2.CreateKeyRequest(account_id=account.account_id))).key
        answer = await operator.RevokeKey(auth_pb2.RevokeKeyRequest(key_id=key.key_id))
        assert answer.key.state == auth_pb2.Key.STATE_REVOKED
        await peer.close()


async def test_a_reader_of_the_log_that_stands_still_holds_nothing_up(tmp_path: Path) -> None:
    """The pipe is full after a few lines that nobody reads."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    try:
        async with started("edge", tmp_path, 'exec "$@"', writer) as address:
            async with asyncio.timeout(ENOUGH):
                for _ in range(100):
                    await serves("edge", address)
                    await refused(address)
    finally:
        os.close(reader)
        os.close(writer)


async def refused(address: str) -> None:
    """A request that the access log has a line of."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(b"GET /v1/models HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 4")
    writer.close()


@pytest.mark.parametrize("service", ["auth", "quota"])
async def test_a_service_out_of_descriptors_answers_who_is_connected_and_others_once_there_is_room(
    tmp_path: Path, service: str
) -> None:
    async with started(service, tmp_path, FEW) as address:
        host, port = address.split(":")
        here = connect(address)
        await healthy(here)
        with ExitStack() as crowd:
            for _ in range(100):
                crowd.enter_context(socket.create_connection((host, int(port)), timeout=5))
            await healthy(here)
        late = connect(address, token="another")
        await healthy(late)
        with pytest.raises((RpcFailure, grpc.aio.AioRpcError)):
            await Caller(late).CreateAccount(auth_pb2.CreateAccountRequest())
        await late.close()
        await here.close()
