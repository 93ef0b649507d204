"""An OTLP collector on loopback that keeps what it was sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE = 30.0  # seconds, on a busy machine


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Spans in the order in which they came, each with the service that sent it."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []  # whole requests: resources and all
        self._spans: list[tuple[str, Span]] = []
        self._came = threading.Condition()
        self.address = ""

    def Export(self, request: Any, context: Any) -> Any:
        with self._came:
            self.raw.append(request.SerializeToString())
            for sent in request.resource_spans:
                names = {each.key: each.value.string_value for each in sent.resource.attributes}
                self._spans += [(names["service.name"], span) for scope in sent.scope_spans for span in scope.spans]
            self._came.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def environment(self) -> dict[str, str]:
        """The standard variables that lead a process here; spans are sent almost at once."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.address}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def trace(self, trace_id: str) -> list[tuple[str, Span]]:
        """The spans of one trace so far."""
        with self._came:
            return [(service, span) for service, span in self._spans if span.trace_id.hex() == trace_id]

    def until(self, condition: Callable[[list[tuple[str, Span]]], bool]) -> list[tuple[str, Span]]:
        """Waits until what came satisfies the condition, and returns all of it."""
        deadline = time.monotonic() + PATIENCE
        with self._came:
            while not condition(self._spans):
                left = deadline - time.monotonic()
                assert left > 0, f"only these spans came: {[(service, span.name) for service, span in self._spans]}"
                self._came.wait(left)
            return list(self._spans)


@contextmanager
def collector() -> Iterator[Collector]:
    """Listens for as long as the test runs."""
    collecting = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collecting, server)
    collecting.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collecting
    finally:
        server.stop(None).wait()
