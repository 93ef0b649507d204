"""A service on a Unix socket: no port that a stranger could take, and no folder that a stranger could write to."""

from __future__ import annotations

import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.errors import StartupError
from servicekit.rpc.access import Tokens
from servicekit.rpc.address import SocketPath
from servicekit.rpc.client import check_plaintext, connect
from servicekit.rpc.server import Server
from servicekit.rpc.status import RpcFailure
from servicekit.tls.directory import TlsDirectory
from tests.certificates import Authority, write_directory
from tests.contract.servicekit.scripted_quota import add_to

TOKENS = Tokens(edge="edge-token-of-the-test", operator="operator-token-of-the-test")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="muhgpt-", dir="/tmp") as made:  # pytest's own is too long for a socket
        yield Path(made)


def server_at(path: Path) -> Server:
    return add_to(Server(name="quota", listen=f"unix:{path}", tokens=TOKENS, drain_timeout=1))


async def balance(address: str, token: str = TOKENS.operator) -> int:
    peer = connect(address, token=token)
    try:
        stub = quota_pb2_grpc.QuotaStub(peer.channel)
        return int((await peer.call(stub.GetBalance, quota_pb2.GetBalanceRequest(), timeout=5)).balance)
    finally:
        await peer.close()


async def test_calls_go_through_a_socket_that_only_its_owner_may_use(folder: Path) -> None:
    server = server_at(folder / "quota.sock")
    address = await server.start()
    assert address == f"unix:{folder}/quota.sock"
    assert stat.S_IMODE((folder / "quota.sock").stat().st_mode) == 0o600
    assert await balance(address) == 7
    with pytest.raises(RpcFailure) as caught:
        await balance(address, "a-strangers-token")
    assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED
    await server.stop()


async def test_a_socket_that_a_killed_process_left_is_replaced(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "quota.sock"))
    server = server_at(folder / "quota.sock")
    assert await balance(await server.start()) == 7
    await server.stop()


async def test_a_socket_that_is_in_use_is_not_taken_over(folder: Path) -> None:
    first, second = server_at(folder / "quota.sock"), server_at(folder / "quota.sock")
    address = await first.start()
    with pytest.raises(StartupError, match="another process does"):
        await second.start()
    assert await balance(address) == 7
    await first.stop()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777, 0o1777])
async def test_a_folder_that_others_may_enter_is_refused_by_both_sides(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(StartupError, match="chmod 700"):
        await server_at(folder / "quota.sock").start()
    with pytest.raises(StartupError, match="chmod 700"):
        check_plaintext(f"unix:{folder}/quota.sock", prefix="MUHGPT_EDGE_")
    folder.chmod(0o700)
    check_plaintext(f"unix:{folder}/quota.sock", prefix="MUHGPT_EDGE_")


async def test_a_folder_behind_a_link_is_refused(folder: Path) -> None:
    (folder / "real").mkdir(mode=0o700)
    (folder / "link").symlink_to(folder / "real")
    with pytest.raises(StartupError, match="chmod 700"):
        await server_at(folder / "link" / "quota.sock").start()


@pytest.mark.parametrize(
    "text", ["unix:quota.sock", "unix:", "unix:/a?b", "unix:/a%41b", "unix:/a,b", "unix:/" + "a" * 107]
)
def test_what_cannot_be_a_sockets_address_is_refused(text: str) -> None:
    with pytest.raises(StartupError, match="unix:/PATH"):
        SocketPath.parse(text)


async def test_a_token_goes_to_nobody_who_took_the_port_of_a_service_with_tls(folder: Path) -> None:
    """What a stranger on the port of auth or quota reads from an edge with a certificate: a handshake, and no token."""
    write_directory(folder / "tls", "edge", Authority())
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(5)
        peer = connect(
            f"127.0.0.1:{stranger.getsockname()[1]}",
            token=TOKENS.edge,
            service="quota",
            tls=TlsDirectory(folder / "tls", "edge"),
        )
        stub = quota_pb2_grpc.QuotaStub(peer.channel)
        calling = peer.call(stub.GetBalance, quota_pb2.GetBalanceRequest(), timeout=1)
        with pytest.raises(RpcFailure):
            await calling
        connection, _ = stranger.accept()
        connection.settimeout(1)
        heard = connection.recv(65536)
        connection.close()
        await peer.close()
    assert heard[:1] == b"\x16"  # a TLS handshake
    assert TOKENS.edge.encode() not in heard
