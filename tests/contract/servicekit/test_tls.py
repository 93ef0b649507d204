"""Mutual TLS between servicekit's server and client: who gets in, who is believed, and certificates that change."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.errors import StartupError
from servicekit.rpc.access import Tokens
from servicekit.rpc.client import Peer, connect
from servicekit.rpc.server import Server
from servicekit.rpc.status import RpcFailure
from servicekit.tls.directory import TlsDirectory
from tests.certificates import Authority, Certificate, certificate, write_directory
from tests.contract.servicekit.scripted_quota import add_to

TOKENS = Tokens(edge="edge-token-of-the-test", operator="operator-token-of-the-test")


@dataclass
class World:
    """A quota server with TLS, and an authority that signs for it."""

    server: Server
    authority: Authority
    folder: Path

    def peer(self, role: str, authority: Authority | None = None, **options: Any) -> Peer:
        """Somebody with a role's certificate."""
        files = write_directory(self.folder / role, role, authority or self.authority)
        return connect(self.server.address, service="quota", tls=TlsDirectory(files, role), **options)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    authority = Authority()
    tls = TlsDirectory(write_directory(tmp_path / "quota", "quota", authority), "quota")
    server = add_to(Server(name="quota", listen="127.0.0.1:0", tokens=TOKENS, tls=tls, drain_timeout=0.2))
    await server.start()
    yield World(server, authority, tmp_path)
    await server.stop()


async def balance(peer: Peer) -> int:
    stub = quota_pb2_grpc.QuotaStub(peer.channel)
    return (await peer.call(stub.GetBalance, quota_pb2.GetBalanceRequest(), timeout=5)).balance


async def grant(peer: Peer) -> int:
    stub = quota_pb2_grpc.QuotaStub(peer.channel)
    return (await peer.call(stub.Grant, quota_pb2.GrantRequest(credits=5), timeout=5)).balance


async def refusal(call: Any) -> RpcFailure:
    with pytest.raises(RpcFailure) as caught:
        await call
    return caught.value


# Whom a server lets in


async def test_a_certificate_of_the_role_suffices(world: World) -> None:
    edge, operator = world.peer("edge"), world.peer("operator")
    assert await balance(edge) == 7
    assert await grant(operator) == 5
    for peer in (edge, operator):
        await peer.close()


@pytest.mark.parametrize("token", [None, TOKENS.operator])
async def test_a_role_may_call_only_what_the_proto_says_whatever_token_it_shows(
    world: World, token: str | None
) -> None:
    edge = world.peer("edge", token=token)
    failure = await refusal(grant(edge))
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")
    await edge.close()


@pytest.mark.parametrize("role", ["auth", "quota", "inference"])
async def test_a_certificate_of_a_service_that_calls_nobody_is_refused(world: World, role: str) -> None:
    peer = world.peer(role, token=TOKENS.operator)
    failure = await refusal(balance(peer))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN")
    await peer.close()


WRONG: dict[str, Any] = {
    "none": lambda authority: None,
    "another authority's": lambda authority: certificate("operator", Authority()),
    "expired": lambda authority: certificate("operator", authority, days=-1),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_peer_with_no_certificate_a_strangers_or_an_expired_one_does_not_get_in(
    world: World, wrong: str
) -> None:
    code, _ = await raw_call(world, WRONG[wrong](world.authority), token=TOKENS.operator)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert await raw_call(world, certificate("operator", world.authority), token="") == (None, 7)


async def raw_call(world: World, shown: Certificate | None, token: str) -> tuple[grpc.StatusCode | None, int]:
    """Asks for a balance with gRPC's own client, which does not look at our certificate first."""
    credentials = grpc.ssl_channel_credentials(world.authority.pem, shown and shown.key, shown and shown.certificate)
    options = [("grpc.ssl_target_name_override", "quota.muhgpt.internal")]
    async with grpc.aio.secure_channel(world.server.address, credentials, options=options) as channel:
        metadata = (("authorization", f"Bearer {token}"),)
        try:
            stub = quota_pb2_grpc.QuotaStub(channel)
            answer = await stub.GetBalance(quota_pb2.GetBalanceRequest(), metadata=metadata, timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code(), 0
    return None, answer.balance


async def test_plaintext_does_not_get_in(world: World) -> None:
    peer = connect(world.server.address, token=TOKENS.operator)
    assert (await refusal(balance(peer))).code is grpc.StatusCode.UNAVAILABLE
    await peer.close()


@pytest.mark.parametrize(("version", "works"), [(ssl.TLSVersion.TLSv1_2, False), (ssl.TLSVersion.TLSv1_3, True)])
async def test_the_server_takes_tls_1_3_and_nothing_older(world: World, version: ssl.TLSVersion, works: bool) -> None:
    folder = write_directory(world.folder / "edge", "edge", world.authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "ca.crt")
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    host, _, port = world.server.address.rpartition(":")
    expected = contextlib.nullcontext() if works else pytest.raises((ssl.SSLError, ConnectionError))
    with expected:
        _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="quota.muhgpt.internal")
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()


# Whom a client believes


async def test_a_client_believes_only_the_service_that_it_means(world: World) -> None:
    files = TlsDirectory(write_directory(world.folder / "edge", "edge", world.authority), "edge")
    for service, works in (("quota", True), ("auth", False), ("inference", False)):
        peer = connect(world.server.address, service=service, tls=files)
        if works:
            assert await balance(peer) == 7
        else:
            assert (await refusal(balance(peer))).code is grpc.StatusCode.UNAVAILABLE
        await peer.close()


@pytest.mark.parametrize("wrong", ["another authority's", "expired"])
async def test_a_client_believes_no_strangers_and_no_expired_certificate(tmp_path: Path, wrong: str) -> None:
    authority = Authority()
    shown = certificate("quota", authority if wrong == "expired" else Authority(), days=-1 if wrong == "expired" else 1)
    server = grpc.aio.server()
    add_to_raw(server)
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(shown.key, shown.certificate)], authority.pem, True)
    )
    await server.start()
    peer = connect(
        f"127.0.0.1:{port}", service="quota", tls=TlsDirectory(write_directory(tmp_path, "edge", authority), "edge")
    )
    assert (await refusal(balance(peer))).code is grpc.StatusCode.UNAVAILABLE
    await peer.close()
    await server.stop(None)


def add_to_raw(server: grpc.aio.Server) -> None:
    from tests.contract.servicekit.scripted_quota import ScriptedQuota

    quota_pb2_grpc.add_QuotaServicer_to_server(ScriptedQuota(), server)


async def test_a_client_speaks_tls_1_3_and_nothing_older(tmp_path: Path) -> None:
    authority = Authority()
    folder = write_directory(tmp_path / "quota", "quota", authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    context.set_alpn_protocols(["h2"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(asyncio.to_thread(shake_hands_once, listener, context))
    tls = TlsDirectory(write_directory(tmp_path / "edge", "edge", authority), "edge")
    peer = connect(f"127.0.0.1:{listener.getsockname()[1]}", service="quota", tls=tls)
    assert (await refusal(balance(peer))).code is grpc.StatusCode.UNAVAILABLE
    await peer.close()
    assert await serving == "NO_SHARED_CIPHER"


def shake_hands_once(listener: socket.socket, context: ssl.SSLContext) -> str:
    listener.settimeout(10)
    raw, _ = listener.accept()
    try:
        with listener, raw, context.wrap_socket(raw, server_side=True) as connection:
            return str(connection.version())
    except ssl.SSLError as error:
        return str(error.reason)


# Certificates that change


async def test_an_exchanged_authority_is_in_force_at_once_and_open_streams_go_on(world: World) -> None:
    edge = world.peer("edge")
    session = quota_pb2_grpc.QuotaStub(edge.channel).Session(metadata=edge.metadata())
    assert await echo(session, 1) == 1

    other = Authority()
    write_directory(world.folder / "quota", "quota", other)
    stranger = certificate("edge", world.authority)
    assert (await raw_call(world, stranger, token=""))[0] is grpc.StatusCode.UNAVAILABLE
    write_directory(world.folder / "edge", "edge", other)
    assert await balance(edge) == 7  # on a connection of its own, with the new certificate
    assert await echo(session, 2) == 2  # on the old one

    await session.done_writing()
    assert await session.read() is grpc.aio.EOF
    await edge.close()


async def echo(session: Any, number: int) -> int:
    await session.write(quota_pb2.SessionRequest(heartbeat=quota_pb2.SessionHeartbeat(number=number)))
    return (await session.read()).heartbeat.number


async def test_a_peer_may_close_when_its_last_call_has_ended(world: World) -> None:
    edge = world.peer("edge")
    session = quota_pb2_grpc.QuotaStub(edge.channel).Session(metadata=edge.metadata())
    assert await echo(session, 1) == 1
    closing = asyncio.create_task(edge.close_when_idle())
    assert await echo(session, 2) == 2
    assert not closing.done()
    await session.done_writing()
    assert await session.read() is grpc.aio.EOF
    await asyncio.wait_for(closing, 5)


# Plaintext


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "some-host:0"])
async def test_plaintext_beyond_loopback_must_be_asked_for_by_name(listen: str) -> None:
    server = Server(name="quota", listen=listen, tokens=TOKENS)
    with pytest.raises(StartupError, match=r"plaintext: .*MUHGPT_QUOTA_TLS_DIRECTORY.*MUHGPT_QUOTA_PLAINTEXT=true"):
        await server.start()


async def test_plaintext_that_was_asked_for_is_served() -> None:
    server = add_to(Server(name="quota", listen="0.0.0.0:0", tokens=TOKENS, plaintext=True, drain_timeout=0.2))
    port = (await server.start()).rpartition(":")[2]
    peer = connect(f"127.0.0.1:{port}", token=TOKENS.edge)
    assert await balance(peer) == 7
    await peer.close()
    await server.stop()


@pytest.mark.parametrize(
    ("names", "alternative", "believed"),
    [
        (["quota.muhgpt.internal"], True, True),
        (["quota.muhgpt.internal", "other.example"], True, True),
        (["*.muhgpt.internal"], True, False),
        (["quota.muhgpt.internal"], False, False),
        (["auth.muhgpt.internal"], True, False),
    ],
    ids=["its name", "among others", "a wildcard", "a common name alone", "another role's"],
)
async def test_a_server_is_believed_only_by_its_roles_own_alternative_name(
    tmp_path: Path, names: list[str], alternative: bool, believed: bool
) -> None:
    """A server of ours does not start with another certificate; this one is a stranger's, whom the authority knows."""
    authority = Authority()
    shown = authority.issue(*names, alternative_names=alternative)
    heard: list[str] = []

    async def answer(request: bytes, context: Any) -> bytes:
        heard.append("call")
        return quota_pb2.GetBalanceResponse(balance=7).SerializeToString()

    class Everything(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server(handlers=[Everything()])
    credentials = grpc.ssl_server_credentials([(shown.key, shown.certificate)], authority.pem, True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    tls = TlsDirectory(write_directory(tmp_path / "operator", "operator", authority), "operator")
    peer = connect(f"127.0.0.1:{port}", service="quota", tls=tls)
    if believed:
        assert [await balance(peer) for _ in range(3)] == [7, 7, 7]
    else:
        for _ in range(2):
            with pytest.raises(RpcFailure) as caught:
                await balance(peer)
            assert caught.value.code is grpc.StatusCode.UNAVAILABLE
        assert heard == []
    await peer.close()
    await server.stop(None)
