"""Inference's failures as nouns: of the stream's messages, and of the unary Prepare with the same reasons."""

from __future__ import annotations

from common.reasons import Reason
from muhgpt.inference.v1 import inference_pb2
from servicekit.rpc.status import RpcFailure
from services.edge.peers.errors import Failure, GenerationFailed, Service
from services.edge.peers.failed_call import from_failed_call

_REASONS = {value: Reason.named(name.removeprefix("REASON_")) for name, value in inference_pb2.Failed.Reason.items()}
_NAMES = frozenset(_REASONS.values())


def to_failure(failed: inference_pb2.Failed) -> GenerationFailed:
    """One generation's failure."""
    return GenerationFailed(
        _REASONS.get(failed.reason, Reason.OTHER),
        failed.message,
        failed.param or None,
        retry_after=failed.retry_after.ToMicroseconds() / 1e6 if failed.HasField("retry_after") else None,
        spent=failed.spent.ToMicroseconds() / 1e6 if failed.HasField("spent") else None,
    )


def from_hand_over(failure: RpcFailure) -> Failure:
    """A large request that could not be handed over."""
    reason = Reason.named(failure.reason)
    if reason is Reason.OTHER or reason not in _NAMES:
        return from_failed_call(failure, Service.INFERENCE)
    return GenerationFailed(
        reason,
        failure.message,
        failure.metadata.get("param"),
        retry_after=failure.retry_after,
        spent=_milliseconds(failure.metadata.get("spent_ms")),
    )


def _milliseconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text) / 1000
    except ValueError:  # another version may write it differently
        return None
