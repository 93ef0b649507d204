"""Health tells readiness from liveness, to callers and, on a port of its own, to probes that speak no TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.errors import StartupError
from servicekit.rpc.client import connect
from servicekit.rpc.server import Server
from servicekit.tls.directory import TlsDirectory
from tests.certificates import Authority, write_directory
from tests.contract.servicekit.scripted_quota import add_to

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
READINESS = ("", "readiness", "muhgpt.quota.v1.Quota", "muhgpt.quota.v1.QuotaService")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    authority = Authority()
    write_directory(tmp_path / "edge", "edge", authority)
    tls = TlsDirectory(write_directory(tmp_path / "quota", "quota", authority), "quota")
    server = add_to(
        Server(name="quota", listen="127.0.0.1:0", tokens=None, tls=tls, health_listen="127.0.0.1:0", drain_timeout=10)
    )
    await server.start()
    yield server
    await server.stop()


async def ask(channel: grpc.aio.Channel, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)).status


async def test_probes_learn_readiness_and_liveness_without_a_certificate(server: Server) -> None:
    assert server.health_address is not None
    async with grpc.aio.insecure_channel(server.health_address) as channel:
        assert {name: await ask(channel, name) for name in (*READINESS, "liveness")} == dict.fromkeys(
            (*READINESS, "liveness"), SERVING
        )


async def test_a_draining_service_is_alive_and_not_ready_until_it_has_drained(server: Server, tmp_path: Path) -> None:
    assert server.health_address is not None
    edge = connect(server.address, service="quota", tls=TlsDirectory(tmp_path / "edge", "edge"))
    session = quota_pb2_grpc.QuotaStub(edge.channel).Session(metadata=edge.metadata())
    beat = quota_pb2.SessionRequest(heartbeat=quota_pb2.SessionHeartbeat(number=1))
    await session.write(beat)
    await session.read()
    async with grpc.aio.insecure_channel(server.health_address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(server.stop())
        assert (await watch.read()).status == NOT_SERVING
        assert server.draining.is_set()
        assert {name: await ask(channel, name) for name in READINESS} == dict.fromkeys(READINESS, NOT_SERVING)
        assert await ask(channel, "liveness") == SERVING
        await session.write(beat)
        assert (await session.read()).heartbeat.number == 1
        assert not stopping.done()
        await session.done_writing()
        await stopping
    await edge.close()


async def test_the_health_port_serves_nothing_else(server: Server) -> None:
    assert server.health_address is not None
    async with grpc.aio.insecure_channel(server.health_address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await quota_pb2_grpc.QuotaStub(channel).GetBalance(quota_pb2.GetBalanceRequest(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_health_port_in_use_is_a_start_up_error_that_names_the_setting(server: Server) -> None:
    second = Server(
        name="quota", listen="127.0.0.1:0", tokens=None, plaintext=True, health_listen=server.health_address
    )
    with pytest.raises(StartupError, match=f"{server.health_address}.*in use.*MUHGPT_QUOTA_HEALTH_LISTEN"):
        await second.start()
