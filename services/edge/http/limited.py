"""Counts what the limits of hostile requests refused or cut, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter

LIMITED = Counter(
    "muhgpt_edge_limited_total", "Connections and requests that a limit refused or ended, by the limit", ["limit"]
)
# Initialised to 0 so that rate() sees the first increment.
CONNECTIONS = LIMITED.labels("connections")
CONNECTIONS_OF_SOURCE = LIMITED.labels("connections_of_source")
BODIES = LIMITED.labels("bodies")
BODIES_OF_ACCOUNT = LIMITED.labels("bodies_of_account")
UNAUTHORIZED = LIMITED.labels("unauthorized")
SPENDING = LIMITED.labels("spending")
