"""OpenTelemetry traces, when the extra `otel` is installed and an endpoint is set; otherwise nothing, at no cost.

A trace travels as a W3C traceparent: in HTTP's header, in gRPC's metadata for a call of its own, and in a field of the
message where many requests share one stream. Of what a client sends only the traceparent is taken: `tracestate` and
`baggage` could hold anything, and would be exported (G11). For the same reason spans never record exceptions, whose
texts may quote what a client sent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Literal

from servicekit.observability.logging import get_logger

log = get_logger(__name__)

HEADER = "traceparent"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_PATIENCE = 2_000  # milliseconds that a process which ends leaves to its last spans
Kind = Literal["internal", "server", "client"]

_tracing: Any = None  # servicekit.observability.tracing_sdk.Tracing, once configured


class Span:
    """A span that is not there: tracing is off, or this trace is not sampled. The real one is in tracing_sdk.py."""

    __slots__ = ()
    traceparent = ""

    def child(self, name: str, kind: Kind = "internal") -> Span:
        """A span below this one, begun now."""
        return self

    def set(self, attributes: Mapping[str, str | int | float]) -> None:
        """Adds attributes: ids, counts and words of ours; never content, keys or what a client chose freely."""

    def rename(self, name: str) -> None:
        """Gives it the name that is known only at its end."""

    def end(self, error: str = "") -> None:
        """Ends it; `error` is a fixed word, such as an exception's type or a reason. A second end changes nothing."""

    def __enter__(self) -> Span:
        """In the block it is `current`; the block's end is its end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        return None


NONE = Span()
current: ContextVar[Span] = ContextVar("span", default=NONE)  # what an outgoing call tells its peer


def configure(service: str, environment: Mapping[str, str] | None = None) -> None:
    """Begins to export this process's spans if the standard OTEL_… variables name an endpoint."""
    global _tracing
    environment = os.environ if environment is None else environment
    if not wanted(environment):
        return
    try:
        from servicekit.observability.tracing_sdk import Tracing
    except ImportError:
        log.warning("tracing_not_installed", hint="install the extra `otel`, or unset OTEL_EXPORTER_OTLP_ENDPOINT")
        return
    _tracing = Tracing(service)
    log.info("tracing")


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").lower() == "none":
        return False
    return any(environment.get(name) for name in ENDPOINTS)


def begin(name: str, traceparent: str | None, *, trusted: bool = True) -> Span:
    """The first span of a request here: continues the caller's trace, or begins one. Malformed parents are ignored.

    A caller that is not trusted may name its trace, but not have it sampled: that is decided as for one of our own.
    """
    if _tracing is None:
        return NONE
    if traceparent and not trusted and not _tracing.samples(name):
        return NONE
    return _tracing.span(name, traceparent or "", "server")


def resume(name: str, traceparent: str, kind: Kind = "server") -> Span:
    """A span below one of another process; nothing when that told none."""
    return NONE if _tracing is None or not traceparent else _tracing.span(name, traceparent, kind)


def shutdown() -> None:
    """Exports what is left, for two seconds at most; further spans are dropped."""
    global _tracing
    if _tracing is not None:
        ending, _tracing = _tracing, None
        ending.shutdown(FLUSH_PATIENCE)
