"""Quota's own metrics."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

OUTCOMES = Counter("muhgpt_quota_operations_total", "Operations by kind and outcome", ["operation", "outcome"])


@lru_cache(maxsize=128)  # finding the labels costs more than counting, and this is done for every operation
def outcomes(operation: str | None, outcome: str) -> Counter:
    """The counter of one kind of operation with one outcome."""
    return OUTCOMES.labels(operation, outcome)


BATCH = Histogram(
    "muhgpt_quota_batch_operations", "Operations committed in one transaction", buckets=(1, 2, 4, 8, 16, 32, 64)
)
EXPIRED = Counter("muhgpt_quota_holds_expired_total", "Holds ended because their edge was gone")
UNCOLLECTED = Counter(
    "muhgpt_quota_uncollected_credits_total", "Credits that answers cost beyond their hold, and that were not charged"
)
ANSWERS_REFUNDED = Counter(
    "muhgpt_quota_answers_refunded_total", "Whole answers given back since their edge died before it confirmed them"
)
ANSWER_REFUND_CREDITS = Counter("muhgpt_quota_answer_refund_credits_total", "Credits of answers that were given back")
LATE_CONFIRMATIONS = Counter(
    "muhgpt_quota_late_confirmations_total", "Confirmations of answers that had been given back before"
)
LOSSES = Gauge("muhgpt_quota_losses_today_credits", "Credits in the loss book of this UTC day, by kind", ["kind"])
LARGEST_LOSS = Gauge(
    "muhgpt_quota_largest_loss_today_credits", "Credits that one account cost the operator this UTC day, the most"
)
BARRED = Gauge("muhgpt_quota_accounts_barred", "Accounts refused until the day ends since their losses are too high")
COMMIT_SECONDS = Histogram(
    "muhgpt_quota_commit_seconds",
    "Time of one transaction of operations",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
QUEUED = Gauge("muhgpt_quota_queued_operations", "Operations that wait for their transaction")
SESSIONS = Gauge("muhgpt_quota_edge_sessions", "Edge workers whose stream is open on this replica")

# What all replicas see alike, since it is in the database.
HOLDS_OPEN = Gauge("muhgpt_quota_holds_open", "Holds that have not ended")
OLDEST_HOLD = Gauge("muhgpt_quota_oldest_hold_age_seconds", "Age of the oldest open hold; 0 when there is none")
BOOKS_DIFFERENCES = Gauge(
    "muhgpt_quota_books_differences", "Places where the books do not balance (muhgpt doctor); NaN until first counted"
)
BOOKS_DIFFERENCES.set(float("nan"))
BOOKS_CHECKED = Gauge("muhgpt_quota_books_checked_timestamp_seconds", "When the books were last counted, Unix seconds")
BOOKS_SECONDS = Gauge("muhgpt_quota_books_check_seconds", "How long counting the books took")
BALANCE = Gauge("muhgpt_quota_balance_credits", "Sum of all balances when the books were last counted")
HELD = Gauge("muhgpt_quota_held_credits", "Sum of all open holds when the books were last counted")
