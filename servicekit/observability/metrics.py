"""Prometheus: the RED metrics of gRPC methods, and the HTTP port that shows them."""

from __future__ import annotations

import threading
from collections import deque
from importlib.metadata import version

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from servicekit.clock import SystemClock
from servicekit.observability.log_output import standard_error
from servicekit.observability.metrics_page import MetricsPage, serve_page

BUILD = Gauge("muhgpt_build_info", "1, with the version that runs", ["version"], multiprocess_mode="max")

RPC_STARTED = Counter("muhgpt_rpc_started_total", "gRPC calls that came in", ["method"])
RPC_HANDLED = Counter("muhgpt_rpc_handled_total", "gRPC calls that ended, by status", ["method", "code"])
RPC_SECONDS = Histogram("muhgpt_rpc_seconds", "Time a gRPC call took; a stream's is its life", ["method"])

CERTIFICATE_EXPIRES = Gauge(
    "muhgpt_certificate_expires_timestamp_seconds",
    "When the certificate shown to other services ends, in Unix seconds; absent without TLS",
    ["role"],
    multiprocess_mode="livemin",
)


LOG_LINES_DROPPED = Counter(
    "muhgpt_log_lines_dropped_total", "Log lines that could not be written: a full disk, a reader that has gone"
)


class _Dropped:
    """Counts dropped lines from a thread of its own, begun with the first: whoever logs may hold prometheus_client's
    lock, as a finalizer does that runs within it."""

    def __init__(self, already: int) -> None:
        self._counts = deque([already] if already else [])
        self._some = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, lines: int) -> None:
        """Never waits."""
        self._counts.append(lines)
        self._some.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dropped log lines", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads: the next line tries again
                self._thread = None

    def _run(self) -> None:
        while self._some.wait():
            self._some.clear()
            while self._counts:
                LOG_LINES_DROPPED.inc(self._counts.popleft())


standard_error().on_dropped = _Dropped(standard_error().dropped)


def tell_build() -> None:
    """Tells this process's version; safe to call again."""
    BUILD.labels(version("muhgpt")).set(1)


def serve_metrics(listen: str | None, registry: CollectorRegistry = REGISTRY, *, or_any_port: bool = False) -> None:
    """Serves /metrics on host:port from threads of its own; None: not at all. Raises StartupError: port taken."""
    tell_build()
    if listen is not None:
        serve_page(listen, MetricsPage(registry, SystemClock()), or_any_port=or_any_port)
