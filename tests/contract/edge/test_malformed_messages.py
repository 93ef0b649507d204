"""The real services are sent bytes that are no message, with a token and without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from muhgpt.auth.v1 import auth_pb2
from muhgpt.inference.v1 import inference_pb2
from muhgpt.quota.v1 import quota_pb2
from servicekit.rpc.client import connect
from servicekit.rpc.status import from_rpc_error
from tests.fakes_engine import EDGE_TOKEN, OPERATOR_TOKEN
from tests.worlds.in_process.auth import TOKENS
from tests.worlds.in_process.platform import InProcess, start_in_process

SERVICES = {
    "auth": auth_pb2.DESCRIPTOR.services_by_name["Auth"],
    "quota": quota_pb2.DESCRIPTOR.services_by_name["Quota"],
    "inference": inference_pb2.DESCRIPTOR.services_by_name["Inference"],
}
MALFORMED = b"\xff\xff\xff"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with start_in_process(tmp_path, drain_timeout=0.2) as running:
        yield running


async def end_of(channel: grpc.aio.Channel, service: Any, method: Any, token: str) -> tuple[grpc.StatusCode, str]:
    path, metadata = f"/{service.full_name}/{method.name}", (("authorization", f"Bearer {token}"),)
    if method.client_streaming:
        answer = channel.stream_stream(path)(iter([MALFORMED]), metadata=metadata, timeout=5).read()
    else:
        answer = channel.unary_unary(path)(MALFORMED, metadata=metadata, timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    failure = from_rpc_error(caught.value)
    assert "Error" not in failure.message
    return failure.code, failure.reason


@pytest.mark.parametrize("name", SERVICES)
async def test_every_method_asks_who_calls_before_it_reads_and_refuses_what_it_cannot_read(
    world: InProcess, name: str
) -> None:
    tokens = (EDGE_TOKEN, OPERATOR_TOKEN) if name == "inference" else (TOKENS.edge, TOKENS.operator)
    peer = connect(world.address(name))
    for method in SERVICES[name].methods:
        stranger = await end_of(peer.channel, SERVICES[name], method, "a-strangers-token")
        assert stranger == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN"), method.name
        known = {await end_of(peer.channel, SERVICES[name], method, token) for token in tokens}
        malformed = (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED")
        assert malformed in known, method.name
        assert known <= {malformed, (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")}, method.name
    await peer.close()
