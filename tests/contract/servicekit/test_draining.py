"""What a caller hears of a server that is stopping."""

from __future__ import annotations

import asyncio

import grpc

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.rpc.access import Tokens
from servicekit.rpc.client import connect
from servicekit.rpc.server import Server
from servicekit.rpc.status import RpcFailure
from tests.contract.servicekit.scripted_quota import add_to

TOKENS = Tokens(edge="edge-token-of-the-test", operator="operator-token-of-the-test")


async def test_calls_that_a_draining_server_had_not_begun_are_said_to_be_unavailable() -> None:
    """gRPC itself says CANCELLED of them, as if the caller had given up."""
    server = add_to(Server(name="quota", listen="127.0.0.1:0", tokens=TOKENS, drain_timeout=5))
    peer = connect(await server.start(), token=TOKENS.operator)

    async def ask() -> grpc.StatusCode:
        stub = quota_pb2_grpc.QuotaStub(peer.channel)
        try:
            await peer.call(stub.GetBalance, quota_pb2.GetBalanceRequest(account_id="rich"), timeout=10)
        except RpcFailure as failure:
            return failure.code
        return grpc.StatusCode.OK

    assert await ask() is grpc.StatusCode.OK  # connected
    calls = [asyncio.create_task(ask()) for _ in range(200)]
    for _ in range(3):  # they are on their way, and the server, which has this loop too, had no turn yet
        await asyncio.sleep(0)
    await server.stop()
    answers = set(await asyncio.gather(*calls))
    await peer.close()
    assert grpc.StatusCode.UNAVAILABLE in answers
    assert answers <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK}
