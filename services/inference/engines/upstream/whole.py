"""An answer that came whole from a server that ignores `stream`, as the events that it should have been."""

from __future__ import annotations

from typing import Any

import orjson

from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.values import mapping, parse

DONE = b"[DONE]"


def events_of(body: bytes) -> list[bytes]:
    """The events of a chat.completion, or of an error. Raises TargetFailed for anything else."""
    try:
        answer = mapping(parse(body))
    except ValueError:
        answer = {}
    if answer.get("error") or answer.get("object") == "error":
        return [body]
    if not answer.get("choices"):
        raise TargetFailed("the upstream's answer is not a stream of events", "protocol")
    usage: dict[str, Any] = {"choices": [], "usage": answer.get("usage")}
    return [orjson.dumps({"choices": answer["choices"]}), orjson.dumps(usage), DONE]
