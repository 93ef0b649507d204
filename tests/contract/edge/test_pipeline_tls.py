"""The edge's stream to a server with a certificate: opened to the right role, and to nobody who is merely believed by
gRPC."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from common import key_format
from muhgpt.auth.v1 import auth_pb2, auth_pb2_grpc
from servicekit.clock import SystemClock
from servicekit.rpc.server import Server
from servicekit.tls.directory import TlsDirectory
from services.edge.peers.auth.peer import AuthPeer
from services.edge.peers.streaming.replicas import Replicas
from services.edge.peers.streaming.resolver import SystemResolver
from services.edge.process.connect import Dial
from services.edge.serving.open_answers import Running
from tests.certificates import Authority, write_directory
from tests.contract.edge.test_pipeline_keys import breaks
from tests.worlds.in_process.pipeline import RESOLVE_INTERVAL, until
from tests.worlds.in_process.scripted_auth import ScriptedAuth


def auth_peer(address: str, folder: Path, authority: Authority) -> AuthPeer:
    dial = Dial(None, TlsDirectory(write_directory(folder / "edge", "edge", authority), "edge"))
    replicas = Replicas("auth", address, dial.auth, SystemResolver(), interval=RESOLVE_INTERVAL)
    replicas.start()
    return AuthPeer(replicas, Running(), SystemClock(), edge_name="test edge")


async def test_a_stream_to_the_right_role_is_opened_again_after_a_restart(tmp_path: Path) -> None:
    authority, auth = Authority(), ScriptedAuth()
    tls = TlsDirectory(write_directory(tmp_path / "auth", "auth", authority), "auth")
    key = key_format.digest(auth.add_key())
    address, peer = "127.0.0.1:0", None
    for _ in range(2):
        server = Server(name="auth", listen=address, tokens=None, tls=tls, drain_timeout=0.05)
        server.add(auth, auth_pb2_grpc.add_AuthServicer_to_server, auth_pb2.DESCRIPTOR.services_by_name["Auth"])
        address = await server.start()
        if peer is None:
            peer = auth_peer(address, tmp_path, authority)
            peer.start()
        before = auth.sessions
        await until(lambda before=before: auth.sessions > before, 10)  # type: ignore[misc]
        await asyncio.wait_for(peer.wait_ready(), 10)
        assert (await peer.authenticate(key)).account_id == "acct_a"
        await server.stop()
    assert peer is not None
    await peer.close()


@pytest.mark.parametrize("alternative", [True, False], ids=["a wildcard", "a common name alone"])
async def test_a_stream_to_a_server_that_does_not_name_its_role_says_nothing(tmp_path: Path, alternative: bool) -> None:
    authority, auth = Authority(), ScriptedAuth()
    name = "*.muhgpt.internal" if alternative else "auth.muhgpt.internal"
    shown = authority.issue(name, alternative_names=alternative)
    server = grpc.aio.server()
    auth_pb2_grpc.add_AuthServicer_to_server(auth, server)
    credentials = grpc.ssl_server_credentials([(shown.key, shown.certificate)], authority.pem, True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    peer = auth_peer(f"127.0.0.1:{port}", tmp_path, authority)
    before = breaks("auth")
    with capture_logs() as lines:
        peer.start()
        await until(lambda: breaks("auth") >= before + 3, 10)
    assert sum(line["event"] == "server_not_believed" for line in lines) == 1
    assert auth.hellos == []
    assert not peer.trusted
    await peer.close()
    await server.stop(None)
