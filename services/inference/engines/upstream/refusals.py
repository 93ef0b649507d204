"""What an upstream's error means for us: the client's mistake, a pause, or another target's turn.

Only the reason of a 400, 413 or 422 reaches the client, bounded (reasons.py); every other text could tell of the
operator's account or key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from servicekit.errors import DomainError
from services.inference.domain.errors import InvalidRequest, TargetFailed
from services.inference.engines.upstream.http.receiver import HttpFailure, HttpFault
from services.inference.engines.upstream.reasons import codes_of, param_of, reason_of
from services.inference.engines.upstream.values import count, mapping, parse

PIECE = 8  # characters of a key that are told from chance; servers show fewer of a key's ends
DEFAULT_PAUSE = 1.0  # seconds after a 429 that names none
UNTOLD = "the upstream refuses this request and does not say why"
CLIENTS = (400, 413, 422)
CLIENTS_TYPES = ("badrequesterror", "invalid_request_error", "invalid_request", "invalidrequesterror", "bad_request")
CONTEXT_CODES = ("context_length_exceeded", "exceed_context_size_error", "context_window_exceeded")
CONTEXT = re.compile(
    r"context[ _](length|window|size)|max_model_len|max_position_embeddings|(prompt|input) is too long"
    r"|longer than the (model|context)|too many (input |prompt )?tokens"
    r"|maximum (input|prompt|sequence) (length|tokens)",
    re.IGNORECASE,
)
# A 429 that no pause helps: this one request is above what the target takes in a minute.
TOO_LARGE = re.compile(r"request (is )?too large|reduce (your|the) (prompt|message|input|request)", re.IGNORECASE)
CONTEXT_LIMIT = re.compile(
    r"(?:context[ _](?:length|window|size)|max_model_len|n_ctx)[^\d\n]{0,24}(\d{2,9})(?![\d.])", re.IGNORECASE
)

FAULTS = {
    HttpFault.UNREACHABLE: "the upstream cannot be reached",
    HttpFault.CUT: "the upstream broke the connection",
    HttpFault.MALFORMED: "the upstream's answer is not HTTP that can be read",
    HttpFault.OVERSIZED: "the upstream's answer is too large",
}


class ContextRefused(InvalidRequest):
    """The upstream has less context than the request takes. `limit`: its context in tokens; 0: it does not say."""

    def __init__(self, limit: int) -> None:
        super().__init__(UNTOLD, param="messages")
        self.limit = limit


def failure_of_target(failure: HttpFailure) -> TargetFailed:
    """A call that brought no answer, or not all of it."""
    return TargetFailed(f"{FAULTS[failure.fault]}: {failure.detail}", failure.fault.value)


def refusal_of(status: int, body: bytes, retry_after: str | None) -> DomainError:
    """An HTTP status other than 200, with the answer's body."""
    try:
        error = parse(body)
    except ValueError:
        error = body.decode(errors="replace")
    return failure_of(status, error, retry_after)


def failure_in_stream(error: Any) -> DomainError:
    """An error in the middle of a stream. Its code is a status, if it has any."""
    fields = mapping(error)
    status = next((found for name in ("code", "status", "status_code") if (found := count(fields.get(name)))), None)
    if status is None and not set(codes_of(error)).isdisjoint((*CLIENTS_TYPES, *CONTEXT_CODES)):
        status = 400
    return failure_of(status, error)


def failure_of(status: int | None, error: Any, retry_after: str | None = None) -> DomainError:
    """An error's status, with its body or error object."""
    if status in CLIENTS:
        return _invalid(error)
    if status == 429 and TOO_LARGE.search(reason_of(error)):
        return _invalid(error)
    if status == 429:
        return TargetFailed("the upstream's limit is reached", "rate_limited", pause=_seconds(retry_after))
    if status in (401, 403):
        return TargetFailed(f"the upstream refuses our key ({status})", "unauthorized")
    if status is not None:
        return TargetFailed(f"the upstream answered {status}", "server_error" if status >= 500 else "unexpected_status")
    return TargetFailed("the upstream ended the answer with an error", "server_error")


def quotes(message: str, key: str, headers: Iterable[str]) -> bool:
    """Whether a message repeats a piece of the key, or a whole header, that we sent: no client may read that (G11)."""
    pieces = (key[start : start + PIECE] for start in range(len(key) - PIECE + 1))
    return any(piece in message for piece in (*pieces, *(value for value in headers if len(value) >= PIECE)))


def _invalid(error: Any) -> InvalidRequest:
    reason = reason_of(error)
    if not set(codes_of(error)).isdisjoint(CONTEXT_CODES) or CONTEXT.search(reason):
        return ContextRefused(_limit(error, reason))
    return InvalidRequest(reason or UNTOLD, param=param_of(error))


def _limit(error: Any, reason: str) -> int:
    """The upstream's context in tokens, where its error names it."""
    told = count(mapping(mapping(error).get("error")).get("n_ctx")) or count(mapping(error).get("n_ctx"))
    found = CONTEXT_LIMIT.search(reason)
    return told or (int(found[1]) if found else 0)


def _seconds(retry_after: str | None) -> float:
    """RFC 9110, Retry-After in seconds; its form with a date is taken as absent."""
    if retry_after is not None and re.fullmatch(r"\d{1,9}(\.\d{1,6})?", retry_after.strip()):
        return float(retry_after)
    return DEFAULT_PAUSE
