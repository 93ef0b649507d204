"""Quota's own metrics."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Histogram

OUTCOMES = Counter("muhgpt_quota_operations_total", "Operations by kind and outcome", ["operation", "outcome"])


@lru_cache(maxsize=128)  # finding the labels costs more than counting, and this is done for every operation
def outcomes(operation: str | None, outcome: str) -> Counter:
    """The counter of one kind of operation with one outcome."""
    return OUTCOMES.labels(operation, outcome)


BATCH = Histogram(
    "muhgpt_quota_batch_operations", "Operations committed in one transaction", buckets=(1, 2, 4, 8, 16, 32, 64)
)
EXPIRED = Counter("muhgpt_quota_holds_expired_total", "Holds ended because their edge was gone")
