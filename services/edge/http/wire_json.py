"""Every JSON document and event that the edge writes."""

from __future__ import annotations

from typing import Any

import orjson

from servicekit.observability.line_safe import line_safe


def encode(value: Any) -> bytes:
    """JSON in UTF-8 that is one line to every reader."""
    return line_safe(orjson.dumps(value))
