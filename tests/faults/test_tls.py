"""Certificates between the real processes: who is refused, and what happens when they are exchanged."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from muhgpt.auth.v1 import auth_pb2, auth_pb2_grpc
from muhgpt.inference.v1 import inference_pb2, inference_pb2_grpc
from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from tests.certificates import Authority, Certificate, certificate, write_directory
from tests.faults.client import Client, begun
from tests.faults.load import PLENTY
from tests.faults.reconcile import reconcile
from tests.worlds.cluster import Cluster
from tests.worlds.parts.service import free_port

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SERVICES = ("auth", "quota", "inference")
START = 60.0  # seconds, on a busy machine
CALLS: dict[str, tuple[Any, str, Any]] = {  # that an operator may make; inference has one for edges, too
    "auth": (auth_pb2_grpc.AuthStub, "ListAccounts", auth_pb2.ListAccountsRequest()),
    "quota": (quota_pb2_grpc.QuotaStub, "CheckBooks", quota_pb2.CheckBooksRequest()),
    "inference": (inference_pb2_grpc.InferenceStub, "ListModels", inference_pb2.ListModelsRequest()),
}
UNREACHED = "UNAVAILABLE: failed to connect"  # the handshake failed
NO_ROLE = "UNAUTHENTICATED"
BUSY = "UNAVAILABLE: the database does not answer"  # in time, on a busy machine
TRIES = 3
WRONG: dict[str, tuple[Any, str]] = {
    "none": (lambda _: None, UNREACHED),
    "another authority's": (lambda _: certificate("operator", Authority()), UNREACHED),
    "expired": (lambda ours: certificate("operator", ours, days=-1), UNREACHED),
    "of a role that calls nobody": (lambda ours: certificate("auth", ours), NO_ROLE),
    "of no role": (lambda ours: ours.issue("host.example.com"), NO_ROLE),
}


def runs(database: str = "replicas", **_: object) -> bool:
    """Where there are certificates (conftest.py)."""
    return database == "replicas"


async def call(cluster: Cluster, service: str, shown: Certificate | None) -> str:
    """An operator's call with this certificate and, whatever it is, the operator's token: "OK", or what went wrong."""
    for _ in range(TRIES):
        said = await _call(cluster, service, shown)
        if not said.startswith(BUSY):
            break
    return said


async def _call(cluster: Cluster, service: str, shown: Certificate | None) -> str:
    stub, method, request = CALLS[service]
    believed = cluster.authority.pem
    credentials = grpc.ssl_channel_credentials(believed, shown and shown.key, shown and shown.certificate)
    options = [("grpc.ssl_target_name_override", f"{service}.muhgpt.internal")]
    async with grpc.aio.secure_channel(cluster.address(f"{service}-1"), credentials, options=options) as channel:
        metadata = (("authorization", f"Bearer {cluster.token}"),)
        try:
            await getattr(stub(channel), method)(request, metadata=metadata, timeout=30)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "OK"


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_refuses_a_peer_whose_certificate_is(cluster: Cluster, service: str, wrong: str) -> None:
    shown, refusal = WRONG[wrong]
    assert (await call(cluster, service, shown(cluster.authority))).startswith(refusal)
    assert await call(cluster, service, certificate("operator", cluster.authority)) == "OK"


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_refuses_tls_1_2_and_plaintext(cluster: Cluster, service: str) -> None:
    host, _, port = cluster.address(f"{service}-1").rpartition(":")
    folder = cluster.tls_folder("operator")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(folder / "ca.crt")
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        context.set_alpn_protocols(["h2"])
        context.minimum_version = context.maximum_version = version
        opening = asyncio.open_connection(host, int(port), ssl=context, server_hostname=f"{service}.muhgpt.internal")
        if version is ssl.TLSVersion.TLSv1_2:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await opening
        else:
            (await opening)[1].close()
    stub, method, request = CALLS[service]
    async with grpc.aio.insecure_channel(cluster.address(f"{service}-1")) as channel:
        metadata = (("authorization", f"Bearer {cluster.token}"),)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(stub(channel), method)(request, metadata=metadata, timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("wrong", ["another service", "another authority's", "expired"])
async def test_an_edge_refuses_a_server_whose_certificate_is_of(cluster: Cluster, tmp_path: Path, wrong: str) -> None:
    server, address = await _impostor(cluster, wrong)
    edge = await _start(
        "edge",
        TLS_DIRECTORY=cluster.tls_folder("edge"),
        AUTH_ADDRESS=address,
        QUOTA_ADDRESS=cluster.address("quota-1"),
        INFERENCE_ADDRESS=cluster.address("inference-1"),
        LISTEN=f"127.0.0.1:{free_port()}",
    )
    assert edge.stdout is not None
    try:
        async with asyncio.timeout(START):
            while (line := await edge.stdout.readline()) and b'"peer":"auth"' not in line:
                assert b"key_watch_open" not in line
        assert b"stream_broken" in line, line
        assert b"UNAVAILABLE" in line, line
    finally:
        edge.terminate()
        await edge.communicate()
        await server.stop(None)
    assert edge.returncode == 0


async def _impostor(cluster: Cluster, wrong: str) -> tuple[grpc.aio.Server, str]:
    """Stands where auth should be."""
    ours = cluster.authority
    shown = {
        "another service": lambda: certificate("quota", ours),
        "another authority's": lambda: certificate("auth", Authority()),
        "expired": lambda: certificate("auth", ours, days=-1),
    }[wrong]()
    server = grpc.aio.server()
    auth_pb2_grpc.add_AuthServicer_to_server(auth_pb2_grpc.AuthServicer(), server)
    credentials = grpc.ssl_server_credentials([(shown.key, shown.certificate)], ours.pem, True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    return server, f"127.0.0.1:{port}"


@pytest.mark.parametrize("service", [*SERVICES, "edge"])
async def test_no_service_starts_with_an_expired_certificate_or_another_roles(
    cluster: Cluster, tmp_path: Path, service: str
) -> None:
    for role, days, problem in ((service, -1, "certificate has expired"), ("operator", 1, "not valid for")):
        folder = write_directory(tmp_path / role, role, cluster.authority, days=days)
        addresses = {f"{each.upper()}_ADDRESS": "127.0.0.1:1" for each in SERVICES} if service == "edge" else {}
        database = {"DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}"} if service in ("auth", "quota") else {}
        process = await _start(service, TLS_DIRECTORY=folder, LISTEN="127.0.0.1:0", **addresses, **database)
        said, _ = await asyncio.wait_for(process.communicate(), START)
        assert process.returncode == 2, said
        assert f"error: {folder} does not hold a certificate for {service}.muhgpt.internal".encode() in said
        assert problem.encode() in said


async def _start(service: str, **settings: object) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUHGPT_")}
    ours = {f"MUHGPT_{service.upper()}_{name}": str(value) for name, value in settings.items()}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"services.{service}.main"),
        env={**kept, **ours},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_the_command_line_needs_the_operators_certificate_and_no_token(cluster: Cluster, tmp_path: Path) -> None:
    token = tmp_path / "operator.token"
    token.write_text(cluster.token)
    # Not the cluster's own files: another test exchanges its authority.
    operator = write_directory(tmp_path / "operator", "operator", cluster.authority)
    code, said = await _accounts(cluster, TLS_DIRECTORY=operator)
    assert code == 0, said
    assert (await _accounts(cluster, OPERATOR_TOKEN_FILE=token))[0] == 1
    edge = write_directory(tmp_path / "edge", "edge", cluster.authority)
    assert (await _accounts(cluster, TLS_DIRECTORY=edge, OPERATOR_TOKEN_FILE=token))[0] == 1


async def _accounts(cluster: Cluster, **settings: object) -> tuple[int | None, bytes]:
    """The exit code of `muhgpt accounts list`, and what it says."""
    ours = {f"MUHGPT_CLI_{name}": str(value) for name, value in settings.items()}
    # Auth knows the accounts, quota their credits.
    addresses = {f"MUHGPT_CLI_{name.upper()}_ADDRESS": cluster.address(f"{name}-1") for name in ("auth", "quota")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "muhgpt_cli.main", "accounts", "list", "--json"),
        env={**os.environ, **addresses, **ours},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), START)
    return process.returncode, said


async def test_an_authority_is_exchanged_under_running_streams_without_a_restart(cluster: Cluster) -> None:
    old, new = cluster.authority, Authority()

    async def stream(edge: str, tokens: int) -> Client:
        return Client(cluster.address(edge), await cluster.office.account(PLENTY), max_tokens=tokens)

    clients = [await begun(partial(stream, edge, 1900)) for edge in (*cluster.edges, *cluster.edges)]
    cluster.certify(old, trust=[new])  # first all believe both
    cluster.certify(new, trust=[old])  # then all show the new one's
    cluster.certify(new)  # and the old one is forgotten
    cluster.authority = new
    for service in SERVICES:
        assert await call(cluster, service, certificate("operator", new)) == "OK"
        assert (await call(cluster, service, certificate("operator", old))).startswith(UNREACHED)
    cluster.kill("quota-1")  # who had a stream there opens another, with the new certificates
    await cluster.restart("quota-1")
    await cluster.ready()
    clients += [await begun(partial(stream, edge, 5)) for edge in cluster.edges]
    for client in clients:
        assert (await client.ended()).finish == "length", client.received.error
    await reconcile(cluster, "certificates exchanged under running streams", clients, faults=1)
