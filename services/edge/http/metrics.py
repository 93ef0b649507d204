"""What Prometheus sees of the HTTP side, right with any number of workers.

With several workers prometheus_client keeps its values in files of PROMETHEUS_MULTIPROC_DIR; it looks at that variable
when it is first imported, so the supervisor sets it before any worker starts (http/supervisor.py).
"""

from __future__ import annotations

import functools

from prometheus_client import Counter, Histogram

from services.edge.http.exchange import Exchange

REQUESTS = Counter("muhgpt_edge_requests_total", "HTTP requests that ended, by route and status", ["route", "status"])
SECONDS = Histogram(
    "muhgpt_edge_request_seconds",
    "Time from a request's header to the end of its answer; a stream's is its life",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)


def observe(exchange: Exchange, seconds: float) -> None:
    """Counts a request that ended."""
    requests, durations = _series(exchange.route, exchange.status)
    requests.inc()
    durations.observe(seconds)


@functools.lru_cache(maxsize=1024)
def _series(route: str, status: int) -> tuple[Counter, Histogram]:
    """Finding a series by its labels takes a lock and longer than counting."""
    return REQUESTS.labels(route, str(status)), SECONDS.labels(route)
