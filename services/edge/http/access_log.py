"""One log event and one count per request: who, what, how long; never a prompt, an answer or a key (G11)."""

from __future__ import annotations

import re

from servicekit.observability import tracing
from servicekit.observability.logging import get_logger
from servicekit.observability.masking import masked
from servicekit.observability.redaction import told
from services.edge.http.exchange import Exchange
from services.edge.http.metrics import observe

log = get_logger(__name__)

# Probes come every few seconds and say nothing.
MAX_CLIENT_TEXT = 128  # characters
UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

QUIET = frozenset({"/healthz", "/readyz"})


def request_ended(exchange: Exchange, now: float) -> None:
    """Logs and counts; now on the monotonic clock."""
    seconds = now - exchange.began
    observe(exchange, seconds)
    if exchange.trace is not tracing.NONE:
        _end_trace(exchange)
    if exchange.route in QUIET and exchange.status < 400:
        return
    fields: dict[str, object] = {
        "method": exchange.method,
        "path": exchange.route,
        "status": exchange.status,
        "request_id": exchange.request_id,
        "duration_ms": round(seconds * 1000, 1),
    }
    client_id = exchange.header(b"x-client-request-id")
    if client_id is not None:
        fields["client_request_id"] = shown(client_id)
    if exchange.account_id is not None:
        fields["account_id"] = exchange.account_id
        fields["key_id"] = exchange.key_id
    if exchange.model is not None:
        fields["model"] = exchange.model
    if exchange.first_token is not None:
        fields["ttft_ms"] = round((exchange.first_token - exchange.began) * 1000, 1)
    if exchange.charge_id is not None:
        fields["charge_id"] = exchange.charge_id
    if exchange.usage is not None:
        fields["prompt_tokens"] = exchange.usage.prompt_tokens
        fields["completion_tokens"] = exchange.usage.completion_tokens
    if exchange.trace is not tracing.NONE:
        fields["trace_id"] = exchange.trace.traceparent.split("-")[1]
    log.info("request", **fields)


def shown(text: str) -> str:
    """What a client chose freely, as the log may hold it: printable ASCII, bounded, and no key."""
    return masked(UNPRINTABLE.sub("", text[:MAX_CLIENT_TEXT]))


def _end_trace(exchange: Exchange) -> None:
    exchange.trace.rename(f"{exchange.method} {exchange.route}")
    exchange.trace.set(
        {
            "http.request.method": exchange.method,
            "http.route": exchange.route,
            "http.response.status_code": exchange.status,
            "muhgpt.request_id": exchange.request_id,
        }
    )
    exchange.trace.end(str(exchange.status) if exchange.status >= 500 else "")


def request_broke(exchange: Exchange, error: Exception) -> None:
    """Logs a defect of ours (servicekit/observability/redaction.py: its kind and place, not its text)."""
    log.error("request_failed", request_id=exchange.request_id, exception=told(error))
