"""What an upstream's error means for us: the client's mistake, a pause, or another target's turn.

Only a 400's error.message reaches the client, bounded; every other text could tell of the operator's account or key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from servicekit.errors import DomainError
from servicekit.masking import masked
from services.inference.domain.errors import InvalidRequest, TargetFailed

MOST_MESSAGE = 500  # characters
PARAM = re.compile(r"[A-Za-z0-9_.\[\]]{1,100}")
PIECE = 8  # characters of a key that are told from chance; servers show fewer of a key's ends
DEFAULT_PAUSE = 1.0  # seconds after a 429 that names none
SHORTEST_SECRET = 8  # characters; shorter header values are versions and names
UNTOLD = "the upstream refuses this request and does not say why"


def refusal_of(status: int, body: bytes, retry_after: str | None) -> DomainError:
    """An HTTP status other than 200, with the answer's body."""
    try:
        error = orjson.loads(body).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        error = None
    return failure_of(status, error, retry_after)


def failure_of(status: Any, error: Any, retry_after: str | None = None) -> DomainError:
    """An error object, from an answer or from the middle of a stream."""
    if status == 400:
        return _invalid(error if isinstance(error, dict) else {})
    if status in (413, 422):
        return InvalidRequest(UNTOLD, param="messages")
    if status == 429:
        return TargetFailed("the upstream's limit is reached", "rate_limited", pause=_seconds(retry_after))
    if status in (401, 403):
        return TargetFailed(f"the upstream refuses our key ({status})", "unauthorized")
    if isinstance(status, int):
        return TargetFailed(f"the upstream answered {status}", "server_error" if status >= 500 else "unexpected_status")
    return TargetFailed("the upstream ended the answer with an error", "server_error")


def quotes(message: str, key: str, headers: Iterable[str]) -> bool:
    """Whether a message repeats a piece of the key, or a whole header, that we sent: no client may read that (G11)."""
    pieces = (key[start : start + PIECE] for start in range(len(key) - PIECE + 1))
    return any(piece in message for piece in (*pieces, *(value for value in headers if len(value) >= PIECE)))


def _invalid(error: dict[str, Any]) -> InvalidRequest:
    message, param = error.get("message"), error.get("param")
    text = "".join(c if c.isprintable() else " " for c in message[:MOST_MESSAGE]) if isinstance(message, str) else ""
    named = isinstance(param, str) and PARAM.fullmatch(param)
    return InvalidRequest(text.strip() or UNTOLD, param=str(param) if named else "")


def without_secrets(error: InvalidRequest, headers: Iterable[tuple[str, str]]) -> InvalidRequest:
    """The same for a client to read: an upstream may repeat what it was sent, our key too, whole or masked its way."""
    text, param = error.message, error.param
    for _, value in headers:
        for secret in (value, value.rpartition(" ")[2]):
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, "…")
                param = "" if secret in param else param
    return InvalidRequest(masked(text), param=param)


def _seconds(retry_after: str | None) -> float:
    """RFC 9110, Retry-After in seconds; its form with a date is taken as absent."""
    if retry_after is not None and re.fullmatch(r"\d{1,9}(\.\d{1,6})?", retry_after.strip()):
        return float(retry_after)
    return DEFAULT_PAUSE
