"""What tracing.py does when the extra `otel` is there; imported only when traces are wanted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import Token

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from servicekit.observability import tracing

KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
}


class Tracing:
    """One process's tracer. Sampling, limits and the exporter take the standard OTEL_… variables."""

    def __init__(self, service: str) -> None:
        names = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: f"muhgpt-{service}"}
        self._exporter = OTLPSpanExporter()
        self._provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("muhgpt")
        self._propagator = TraceContextTextMapPropagator()

    def span(self, name: str, traceparent: str, kind: tracing.Kind) -> tracing.Span:
        """A span below a remote one, or a new trace's first. Not sampled: no span, so that nothing below it costs."""
        context = self._propagator.extract({tracing.HEADER: traceparent}) if traceparent else trace.Context()
        return _sampled(self._tracer, name, context, kind)

    def samples(self, name: str) -> bool:
        """Whether a trace that began here would be sampled; by an id of our own, since ratios look at the id's bits."""
        id = self._provider.id_generator.generate_trace_id()
        decided = self._provider.sampler.should_sample(trace.Context(), id, name, trace.SpanKind.SERVER)
        return bool(decided.decision.is_sampled())

    def shutdown(self, patience: int) -> None:
        """Ends within about `patience` milliseconds, whether or not the collector answers."""
        self._provider.force_flush(patience)
        self._exporter.shutdown(patience)
        self._provider.shutdown()


class RealSpan(tracing.Span):
    """A span that is recorded."""

    __slots__ = ("_ended", "_span", "_token", "_tracer", "traceparent")

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._ended = False
        self._token: Token[tracing.Span] | None = None
        told = span.get_span_context()
        self.traceparent = f"00-{told.trace_id:032x}-{told.span_id:016x}-01"

    def child(self, name: str, kind: tracing.Kind = "internal") -> tracing.Span:
        return _sampled(self._tracer, name, trace.set_span_in_context(self._span, trace.Context()), kind)

    def set(self, attributes: Mapping[str, str | int | float]) -> None:
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, error: str = "") -> None:
        if self._ended:
            return
        self._ended = True
        if error:
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, error))
        self._span.end()

    def __enter__(self) -> tracing.Span:
        self._token = tracing.current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._token is not None:
            tracing.current.reset(self._token)
        self.end(kind.__name__ if kind is not None else "")


def _sampled(tracer: trace.Tracer, name: str, context: trace.Context, kind: tracing.Kind) -> tracing.Span:
    span = tracer.start_span(name, context, KINDS[kind], record_exception=False, set_status_on_exception=False)
    return RealSpan(tracer, span) if span.is_recording() else tracing.NONE
