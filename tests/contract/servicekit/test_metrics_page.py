"""The page that Prometheus reads: encoded once a second, on a port that cannot be filled up."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
import structlog.testing
from prometheus_client import CollectorRegistry, Counter

from servicekit.errors import StartupError
from servicekit.observability.metrics_page import MetricsPage, serve_page
from tests.fakes import FakeClock


class Counted(CollectorRegistry):
    """Knows how often it was collected."""

    collected = 0

    def collect(self) -> Iterator[object]:  # type: ignore[override]
        self.collected += 1
        return iter(super().collect())


def serve(page: MetricsPage) -> str:
    with structlog.testing.capture_logs() as logs:
        serve_page("127.0.0.1:0", page)
    return str(logs[0]["address"])


def test_a_page_is_encoded_once_a_second_however_often_it_is_read() -> None:
    clock, registry = FakeClock(), Counted()
    counter = Counter("things", "Things", registry=registry)
    collected = registry.collected
    address = serve(MetricsPage(registry, clock))
    counter.inc()
    with httpx.Client(base_url=f"http://{address}") as client:
        for _ in range(20):
            assert "things_total 1.0" in client.get("/metrics").text
            counter.inc()
        assert registry.collected == collected + 1
        clock.advance(1.0)
        page = client.get("/metrics")
        assert re.search(r"^things_total 21.0$", page.text, re.M)
        assert page.headers["content-type"].startswith("text/plain")
        assert client.get("/other").status_code == 404


def test_connections_that_say_nothing_do_not_pile_up() -> None:
    address = serve(MetricsPage(CollectorRegistry(), FakeClock()))
    host, _, port = address.rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(40)]
    try:
        silent[-1].settimeout(5)
        assert silent[-1].recv(1) == b"", "the server closed it"
    finally:
        for each in silent:
            each.close()


def test_a_port_that_is_taken_is_an_error_unless_any_other_will_do() -> None:
    page = MetricsPage(CollectorRegistry(), FakeClock())
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartupError, match="choose another port"):
            serve_page(listen, page)
        with structlog.testing.capture_logs() as logs:
            serve_page(listen, page, or_any_port=True)
    address = str(logs[0]["address"])
    assert address != listen
    assert httpx.get(f"http://{address}/metrics").status_code == 200
