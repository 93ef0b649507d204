"""A quota servicer that answers as the request says, for tests of servicekit's server and client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.errors import DomainError, Kind
from servicekit.rpc import request_id
from servicekit.rpc.server import Server

SERVICE = quota_pb2.DESCRIPTOR.services_by_name["Quota"]


class TooPoor(DomainError):
    kind = Kind.PRECONDITION
    reason = "TOO_POOR"


class ScriptedQuota(quota_pb2_grpc.QuotaServicer):
    """Answers or fails as the request's account says. A session echoes heartbeats until its caller ends it."""

    async def GetBalance(self, request: Any, context: Any) -> Any:
        if request.account_id == "poor":
            raise TooPoor("not enough", retry_after=1.5, account="poor")
        if request.account_id == "named":
            raise TooPoor("this request has a name", account=request_id.current.get())
        if request.account_id == "broken":
            raise RuntimeError("a secret of ours")
        return quota_pb2.GetBalanceResponse(balance=7)

    async def Grant(self, request: Any, context: Any) -> Any:
        return quota_pb2.GrantResponse(balance=request.credits)

    async def Session(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            if request.WhichOneof("message") != "heartbeat":
                raise TooPoor("not in a stream either")
            number = request.heartbeat.number
            yield quota_pb2.SessionResponse(heartbeat=quota_pb2.SessionHeartbeat(number=number))


def add_to(server: Server) -> Server:
    """The server, with the servicer."""
    server.add(ScriptedQuota(), quota_pb2_grpc.add_QuotaServicer_to_server, SERVICE)
    return server
