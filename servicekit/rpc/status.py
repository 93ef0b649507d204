"""Domain errors to gRPC statuses and back: google.rpc.Status with ErrorInfo, and RetryInfo where a time is known."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from servicekit.errors import DomainError, Kind

CODES = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Kind.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Kind.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class RpcFailure(Exception):
    """A call that failed, as its caller sees it. `reason` is empty when the peer gave none (it was not reached)."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        domain: str = "",
        metadata: dict[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message, reason)
        self.code = code
        self.message = message
        self.reason = reason
        self.domain = domain
        self.metadata = metadata or {}
        self.retry_after = retry_after  # seconds

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason} {self.message}".strip()


def to_status(error: DomainError, domain: str) -> status_pb2.Status:
    """What a DomainError is on the wire; domain is "<service>.muhgpt"."""
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=domain, metadata=error.metadata))]
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMicroseconds(round(error.retry_after * 1e6))
        details.append(_packed(retry))
    return status_pb2.Status(code=CODES[error.kind].value[0], message=error.message, details=details)


def from_rpc_error(error: grpc.aio.AioRpcError) -> RpcFailure:
    """What a failed call said, with reason and retry time where the peer gave them.

    CANCELLED becomes UNAVAILABLE: of calls that we cancel ourselves grpc.aio says asyncio.CancelledError, so a status
    of that name comes from a server that stopped before it began the call (tests/contract/servicekit/test_draining.py).
    """
    info, retry_after = error_details_pb2.ErrorInfo(), None
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # the trailing status contradicts the call's own: trust the call
        status = None
    for detail in status.details if status else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToMicroseconds() / 1e6
    code = error.code()
    if code is grpc.StatusCode.CANCELLED:
        code = grpc.StatusCode.UNAVAILABLE
    return RpcFailure(code, error.details() or "", info.reason, info.domain, dict(info.metadata), retry_after)


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
