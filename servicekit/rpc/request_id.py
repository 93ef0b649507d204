"""The id that follows a request through metadata into every log line."""

from __future__ import annotations

from contextvars import ContextVar

METADATA_KEY = "x-request-id"

current: ContextVar[str] = ContextVar("request_id", default="")
