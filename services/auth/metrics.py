"""Prometheus metrics of auth."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

EDGES = Gauge("muhgpt_auth_edges_watching", "Edge workers whose stream of key changes is open on this replica")
CONFIRMED = Histogram(
    "muhgpt_auth_change_confirmed_seconds",
    "From a change of keys, as a revocation is, to its confirmation by every edge",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
WAITED_OUT = Counter(
    "muhgpt_auth_sessions_waited_out_total", "Edge sessions that did not confirm a change and were waited out"
)
UNCONFIRMED = Counter("muhgpt_auth_changes_unconfirmed_total", "Changes that were not confirmed in time")


class ConfirmationMetrics:
    """The domain's ConfirmationObserver."""

    def confirmed(self, seconds: float, timed_out: int) -> None:
        CONFIRMED.observe(seconds)
        WAITED_OUT.inc(timed_out)

    def unconfirmed(self) -> None:
        UNCONFIRMED.inc()
