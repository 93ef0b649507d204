"""Quota's messages as the nouns that the rest of the edge knows."""

from __future__ import annotations

from common.reasons import Reason
from muhgpt.quota.v1 import quota_pb2
from servicekit.rpc.status import RpcFailure
from services.edge.peers.errors import Failure, QueryRefused, Refused, Service
from services.edge.peers.failed_call import from_failed_call
from services.edge.peers.quota.rate_window import Limit, RateWindow

_REASONS = {value: Reason.named(name.removeprefix("REASON_")) for name, value in quota_pb2.Refused.Reason.items()}
_LIMITS = {
    quota_pb2.Refused.LIMIT_ACCOUNT: Limit.ACCOUNT,
    quota_pb2.Refused.LIMIT_KEY: Limit.KEY,
    quota_pb2.Refused.LIMIT_MONTH: Limit.MONTH,
    quota_pb2.Refused.LIMIT_MEMBER: Limit.MEMBER,
}
_QUERIES = frozenset({Reason.RANGE_INVALID, Reason.CURSOR_MALFORMED, Reason.PAGE_TOKEN_MALFORMED})


def to_rate_window(message: quota_pb2.RateWindow) -> RateWindow:
    """The window at the moment of quota's decision."""
    return RateWindow(message.limit, message.remaining, message.reset_after.ToMicroseconds() / 1e6)


def to_refused(message: quota_pb2.Refused) -> Refused:
    """A refusal. Replicas of an older version do not name the limit."""
    return Refused(
        _REASONS.get(message.reason, Reason.OTHER),
        limit=_LIMITS.get(message.limit),
        retry_after=message.retry_after.ToMicroseconds() / 1e6 if message.HasField("retry_after") else None,
        window=to_rate_window(message.window) if message.HasField("window") else None,
    )


def from_query(failure: RpcFailure) -> Failure:
    """What a question's failure is."""
    reason = Reason.named(failure.reason)
    return QueryRefused(reason) if reason in _QUERIES else from_failed_call(failure, Service.QUOTA)
