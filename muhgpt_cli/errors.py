"""What ends a command with one line on stderr and exit code 1."""

from __future__ import annotations

import grpc

from servicekit.rpc.status import RpcFailure

# After these nobody knows whether the call was carried out.
UNKNOWN_OUTCOMES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class CliError(Exception):
    """The command cannot be done. The message says what, where, and what to do."""


class CallFailed(CliError):
    """A service refused a call or did not answer."""

    def __init__(self, message: str, failure: RpcFailure) -> None:
        super().__init__(message)
        self.reason = failure.reason
        self.unimplemented = failure.code is grpc.StatusCode.UNIMPLEMENTED  # the service is of an earlier version
        self.outcome_unknown = failure.code in UNKNOWN_OUTCOMES


def explain(failure: RpcFailure, service: str, address: str) -> CallFailed:
    """A failed call in words for the person at the terminal."""
    if failure.code is grpc.StatusCode.UNAVAILABLE and not failure.reason:
        text = f"{service} at {address} does not answer; is it running? `muhgpt doctor` tells, `muhgpt up` starts it"
    elif failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text = f"{service} at {address} did not answer in time; look at its log, then try again"
    elif failure.reason == "CALLER_UNKNOWN":
        text = f"{service} at {address} refused the operator token; use the token file that it was started with"
    elif failure.code is grpc.StatusCode.INTERNAL:
        text = f"{service} at {address} failed; its log says why"
    else:
        text = failure.message or f"{service} at {address} answered {failure.code.name}"
    return CallFailed(text, failure)
