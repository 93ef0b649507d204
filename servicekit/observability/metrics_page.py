"""The page that Prometheus reads, encoded at most once a second, on a port of its own."""

from __future__ import annotations

import errno
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from servicekit.clock import Clock
from servicekit.errors import StartupError
from servicekit.observability.logging import get_logger
from servicekit.rpc.address import Address

log = get_logger(__name__)

MAX_AGE = 1.0  # seconds that a page is shown again
MAX_CONNECTIONS = 16  # at once; each has a thread
CONNECTION_TIMEOUT = 10.0  # seconds without a byte


class MetricsPage:
    """The metrics of a registry as text. Encoding holds the interpreter for tens of milliseconds with many series."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._lock = threading.Lock()
        self._page = b""
        self._at: float | None = None

    def content(self) -> bytes:
        """The page, at most a second old; safe to call from any thread."""
        with self._lock:
            now = self._clock.monotonic()
            if self._at is None or now - self._at >= MAX_AGE:
                self._page, self._at = generate_latest(self._registry), now
            return self._page


def serve_page(listen: str, page: MetricsPage, *, or_any_port: bool = False) -> None:
    """Serves GET /metrics on host:port from threads of its own.

    `or_any_port`: when the port is taken, another one is; the log names it. Raises StartupError: port taken.
    """
    address = Address.parse(listen)
    try:
        server = _Server((address.host, address.port), page)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not or_any_port:
            raise StartupError(f"cannot serve metrics on {listen}: {error.strerror}; choose another port") from None
        server = _Server((address.host, 0), page)
    log.info("metrics_serving", address=str(Address(address.host, server.server_address[1])), wanted=listen)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], page: MetricsPage) -> None:
        self.page = page
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of the machine's name, which may wait for a DNS server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "metrics", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that left is nobody's error."""


class _Handler(BaseHTTPRequestHandler):
    timeout = CONNECTION_TIMEOUT
    server: _Server

    def do_GET(self) -> None:
        if self.path.partition("?")[0] not in ("/metrics", "/"):
            self.send_error(404)
            return
        content = self.server.page.content()
        self.send_response(200)
        self.send_header("content-type", CONTENT_TYPE_LATEST)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def version_string(self) -> str:
        return "metrics"

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes come every few seconds and say nothing."""
