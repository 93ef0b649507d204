"""The server and the client of servicekit against each other, over a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.errors import StartupError
from servicekit.rpc import request_id
from servicekit.rpc.access import Tokens
from servicekit.rpc.client import Peer, connect
from servicekit.rpc.server import Server
from servicekit.rpc.status import RpcFailure, from_rpc_error
from tests.contract.servicekit.scripted_quota import add_to

TOKENS = Tokens(edge="edge-token-of-the-test", operator="operator-token-of-the-test")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server(name="quota", listen="127.0.0.1:0", tokens=TOKENS, drain_timeout=2)
    yield add_to(server)
    await server.stop()


@pytest.fixture
async def operator(server: Server) -> AsyncIterator[Peer]:
    peer = connect(await server.start(), token=TOKENS.operator)
    yield peer
    await peer.close()


async def failure(peer: Peer, account: str) -> RpcFailure:
    with pytest.raises(RpcFailure) as caught:
        await peer.call(
            quota_pb2_grpc.QuotaStub(peer.channel).GetBalance,
            quota_pb2.GetBalanceRequest(account_id=account),
            timeout=5,
        )
    return caught.value


async def test_a_domain_error_crosses_with_its_reason_metadata_and_retry_time(operator: Peer) -> None:
    caught = await failure(operator, "poor")
    assert (caught.code, caught.reason, caught.domain) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "TOO_POOR",
        "quota.muhgpt",
    )
    assert (caught.message, caught.metadata, caught.retry_after) == ("not enough", {"account": "poor"}, 1.5)


async def test_any_other_exception_crosses_without_its_text(operator: Peer) -> None:
    caught = await failure(operator, "broken")
    assert caught.code == grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught)


async def test_a_domain_error_crosses_from_a_stream(server: Server) -> None:
    peer = connect(await server.start(), token=TOKENS.edge)
    call = quota_pb2_grpc.QuotaStub(peer.channel).Session(metadata=peer.metadata())
    await call.write(quota_pb2.SessionRequest())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    await peer.close()


async def test_a_caller_without_a_known_token_is_unauthenticated(server: Server) -> None:
    peer = connect(await server.start(), token="some-other-token")
    assert (await failure(peer, "rich")).code == grpc.StatusCode.UNAUTHENTICATED
    await peer.close()


async def test_an_edge_may_not_call_what_the_proto_leaves_to_operators(server: Server) -> None:
    peer = connect(await server.start(), token=TOKENS.edge)
    stub = quota_pb2_grpc.QuotaStub(peer.channel)
    assert (await peer.call(stub.GetBalance, quota_pb2.GetBalanceRequest(), timeout=5)).balance == 7
    with pytest.raises(RpcFailure) as caught:
        await peer.call(stub.Grant, quota_pb2.GrantRequest(credits=5), timeout=5)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")
    await peer.close()


async def test_a_port_in_use_is_a_start_up_error_that_names_it(server: Server) -> None:
    address = await server.start()
    second = Server(name="quota", listen=address, tokens=TOKENS)
    with pytest.raises(StartupError, match=f"{address}.*in use.*MUHGPT_QUOTA_LISTEN"):
        await second.start()


@pytest.mark.parametrize("service", ["muhgpt.quota.v1.Quota", "muhgpt.quota.v1.QuotaService"])
async def test_a_service_has_its_released_name_and_the_one_that_replaces_it(server: Server, service: str) -> None:
    """docs/releases.md: this version's servers know both, and its clients use the first."""
    peer = connect(await server.start(), token=TOKENS.edge)
    asked = quota_pb2.GetBalanceRequest().SerializeToString()
    call = peer.channel.unary_unary(f"/{service}/GetBalance")(asked, metadata=peer.metadata(), timeout=5)
    assert quota_pb2.GetBalanceResponse.FromString(await call).balance == 7
    grant = peer.channel.unary_unary(f"/{service}/Grant")(b"", metadata=peer.metadata(), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await grant
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    await peer.close()


MALFORMED = b"\xff\xff\xff"
METHODS = {
    "unary": "/muhgpt.quota.v1.Quota/GetBalance",
    "stream": "/muhgpt.quota.v1.Quota/Session",
    "unary, new name": "/muhgpt.quota.v1.QuotaService/GetBalance",
    "stream, new name": "/muhgpt.quota.v1.QuotaService/Session",
}


async def raw_failure(peer: Peer, kind: str) -> tuple[grpc.StatusCode, str, str]:
    """How a method ends that is sent what is no message."""
    unary = kind.startswith("unary")
    if unary:
        call = peer.channel.unary_unary(METHODS[kind])(MALFORMED, metadata=peer.metadata(), timeout=5)
    else:
        call = peer.channel.stream_stream(METHODS[kind])(iter([MALFORMED]), metadata=peer.metadata(), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if unary else call.read())
    failure = from_rpc_error(caught.value)
    return failure.code, failure.reason, failure.message


@pytest.mark.parametrize("kind", METHODS)
async def test_who_may_not_call_is_told_so_whatever_was_sent(server: Server, kind: str) -> None:
    peer = connect(await server.start(), token="some-other-token")
    assert (await raw_failure(peer, kind))[:2] == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN")
    await peer.close()


@pytest.mark.parametrize("kind", METHODS)
async def test_a_message_that_is_none_is_the_callers_mistake_and_says_nothing_of_ours(
    server: Server, kind: str
) -> None:
    token = TOKENS.operator if kind.startswith("unary") else TOKENS.edge
    peer = connect(await server.start(), token=token)
    code, reason, message = await raw_failure(peer, kind)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED")
    assert "google" not in message
    assert "Error" not in message
    await peer.close()


@pytest.mark.parametrize("given", ["mghp_" + "a" * 36, "x" * 3000, "a request id", ""])
async def test_a_request_id_that_may_not_be_logged_is_replaced(operator: Peer, given: str) -> None:
    """Strangers can send one, too: it is in the log line of their refusal."""
    known = request_id.current.set(given)
    caught = await failure(operator, "named")
    request_id.current.reset(known)
    assert caught.metadata["account"] != given
    assert len(caught.metadata["account"]) == 16


async def test_a_request_id_follows_its_request(operator: Peer) -> None:
    known = request_id.current.set("req_0123-abc")
    caught = await failure(operator, "named")
    request_id.current.reset(known)
    assert caught.metadata["account"] == "req_0123-abc"
