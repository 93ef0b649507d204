"""What the edge counts of its peers, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

PRINCIPALS = Counter("muhgpt_edge_principal_lookups_total", "Keys looked up in the cache, by result", ["result"])
CACHE_HITS = PRINCIPALS.labels("hit")
CACHE_MISSES = PRINCIPALS.labels("miss")
RECONNECTS = Counter("muhgpt_edge_stream_breaks_total", "Streams to a peer that broke and were opened again", ["peer"])
STREAMS_OPEN = Gauge(
    "muhgpt_edge_streams_open", "Streams to replicas of a peer that are open", ["peer"], multiprocess_mode="livesum"
)
HOLDS_OPEN = Gauge(
    "muhgpt_edge_holds_open", "Holds that quota has not acknowledged the end of", multiprocess_mode="livesum"
)
