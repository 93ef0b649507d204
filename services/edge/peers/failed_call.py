"""A failed unary call as a noun, where the service gave no reason of its own."""

from __future__ import annotations

import grpc

from servicekit.rpc.status import RpcFailure
from services.edge.peers.errors import Failure, Service, Unavailable, Unexplained

_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


def from_failed_call(failure: RpcFailure, service: Service) -> Failure:
    """The service is away, or something is wrong that the client can do nothing about."""
    return Unavailable(service) if failure.code in _AWAY else Unexplained(service)
