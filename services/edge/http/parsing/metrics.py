"""What parsing bodies takes, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

PARSE_SECONDS = Histogram(
    "muhgpt_edge_body_parse_seconds",
    "CPU time of parsing and checking a request body, on the event loop (in_place) or in a process of the pool",
    ["where"],
    buckets=_BUCKETS,
)
IN_PLACE = PARSE_SECONDS.labels("in_place")
IN_POOL = PARSE_SECONDS.labels("pool")
WAITING = Gauge(
    "muhgpt_edge_bodies_waiting", "Request bodies that wait for a parser process", multiprocess_mode="livesum"
)
ENDED = Counter("muhgpt_edge_parsers_ended_total", "Parser processes that had to be replaced, by the cause", ["cause"])
# Initialised to 0 so that rate() sees the first increment.
DIED = ENDED.labels("died")
TIMED_OUT = ENDED.labels("timeout")
