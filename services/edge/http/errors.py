"""Every error that a client can see: one shape (docs/wire.md, G10), and the one table from the peers' failures to it.

Messages are for the client: they name no internals, and they hold nothing of a prompt, an answer or a key.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import grpc

from muhgpt.inference.v1 import inference_pb2
from muhgpt.quota.v1 import quota_pb2
from servicekit.rpc import request_id as ids
from servicekit.rpc.status import RpcFailure
from services.edge.http import wire_json
from services.edge.serving.answer import RateWindow

Service = Literal["auth", "quota", "inference"]
INVALID = "invalid_request_error"


class ApiError(Exception):
    """One refusal or failure as the client sees it: status, OpenAI's four fields, and headers.

    `window` is where the account stands in its rate window, when that is known; it becomes headers too.
    """

    def __init__(
        self,
        status: int,
        type: str,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
        window: RateWindow | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.message = message
        self.param = param
        self.code = code
        self.headers = headers or {}
        self.window = window
        self.spent: float | None = None  # seconds of CPU that the refusal cost inference, when it says so

    def body(self) -> bytes:
        """The JSON document: {"error": {"message", "type", "param", "code"}}."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return wire_json.encode({"error": error})

    # 4xx: the request

    @classmethod
    def invalid(cls, message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
        """400: malformed JSON, or a field out of its range; param names it in OpenAI's path form."""
        return cls(400, INVALID, message, param=param, code=code)

    @classmethod
    def invalid_api_key(cls, message: str = "Incorrect API key provided. Keys start with mghp_.") -> ApiError:
        """401: the key is missing, malformed, unknown, revoked or expired, or its account is suspended."""
        return cls(401, INVALID, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})

    @classmethod
    def key_revoked(cls) -> ApiError:
        """The key was revoked (or its account suspended) while an answer ran; an event midway, else a 401."""
        message = "This API key was revoked while the answer was running."
        return cls(401, INVALID, message, code="key_revoked", headers={"www-authenticate": "Bearer"})

    @classmethod
    def insufficient_credits(cls, window: RateWindow | None = None) -> ApiError:
        """402: the balance cannot pay the prompt and one output token."""
        message = "Your credits do not cover this request. Buy credits, or shorten the prompt."
        return cls._payment(message, "insufficient_credits", window)

    @classmethod
    def key_limit_reached(cls, window: RateWindow | None = None) -> ApiError:
        """402: the key's monthly ceiling cannot pay the prompt and one output token."""
        message = "This key's monthly credit limit does not cover this request. Raise the limit, or use another key."
        return cls._payment(message, "key_limit_reached", window)

    @classmethod
    def _payment(cls, message: str, code: str, window: RateWindow | None) -> ApiError:
        headers = {"x-should-retry": "false"}
        return cls(402, "insufficient_quota", message, code=code, headers=headers, window=window)

    @classmethod
    def model_not_allowed(cls, model: str) -> ApiError:
        """403: the model is not in the key's allow-list."""
        message = f"This API key may not use the model {_shown(model)}. GET /v1/models lists those it may use."
        return cls(403, "model_not_allowed", message, param="model", code="model_not_allowed")

    @classmethod
    def model_not_found(cls, model: str) -> ApiError:
        """404: no model has this alias."""
        message = f"The model {_shown(model)} does not exist. GET /v1/models lists the models."
        return cls(404, INVALID, message, param="model", code="model_not_found")

    @classmethod
    def not_found(cls, method: str, path: str) -> ApiError:
        """404: no such route."""
        return cls(404, INVALID, f"There is no {_shown(f'{method} {path}')}. See /openapi.json.")

    @classmethod
    def method_not_allowed(cls, method: str, allowed: str) -> ApiError:
        """405; allowed is the Allow header's value."""
        message = f"The method {_shown(method)} is not allowed here. Allowed: {allowed}."
        return cls(405, INVALID, message, headers={"allow": allowed})

    @classmethod
    def request_timeout(cls, what: str) -> ApiError:
        """408: the client took too long to send what it had begun; the connection is closed."""
        return cls(408, INVALID, f"The request's {what} did not arrive in time.", code="request_timeout")

    @classmethod
    def too_large(cls, limit: int) -> ApiError:
        """413; limit is in bytes."""
        return cls(413, INVALID, f"The request body is larger than {limit} bytes.", code="request_too_large")

    @classmethod
    def not_json(cls) -> ApiError:
        """415: the body is not declared as JSON."""
        message = 'The request body must be JSON. Send it with the header "Content-Type: application/json".'
        return cls(415, INVALID, message, code="unsupported_media_type")

    @classmethod
    def compressed(cls) -> ApiError:
        """415: the body is compressed."""
        message = 'Compressed request bodies are not accepted. Send it without "Content-Encoding".'
        return cls(415, INVALID, message, code="unsupported_media_type")

    @classmethod
    def header_too_large(cls, limit: int) -> ApiError:
        """431; limit is in bytes."""
        return cls(431, INVALID, f"The request's header is larger than {limit} bytes.", code="header_too_large")

    @classmethod
    def framing_too_large(cls, limit: int) -> ApiError:
        """431: chunk sizes, chunk extensions and trailers; limit is in bytes, beside a quarter of the body."""
        message = f"The framing of the request's chunks, with its trailers, is larger than {limit} bytes."
        return cls(431, INVALID, message, code="header_too_large")

    @classmethod
    def rate_limited(cls, retry_after: float, window: RateWindow | None = None) -> ApiError:
        """429: the rate window is full; retry_after in seconds is when one more is admitted."""
        limit = f" ({window.limit} requests a minute)" if window else ""
        message = f"Rate limit reached{limit}. Try again in {retry_headers(retry_after)['retry-after']} s."
        return cls(
            429,
            "rate_limit",
            message,
            code="rate_limit_exceeded",
            headers=retry_headers(retry_after),
            window=window,
        )

    @classmethod
    def too_many_streams(cls, limit: int, window: RateWindow | None = None) -> ApiError:
        """429 that does not count: the account has its bound of answers open already."""
        message = f"Your account has {limit} answers running, as many as it may. Wait for one to end."
        return cls(429, "rate_limit", message, code="too_many_streams", headers=retry_headers(1), window=window)

    @classmethod
    def refused_too_often(
        cls, retry_after: float, why: str = "Too many of your requests were refused lately."
    ) -> ApiError:
        """429 that does not count: so much of the sender's work was rejected that no more is looked at for now."""
        headers = retry_headers(retry_after)
        message = f"{why} Try again in {headers['retry-after']} s."
        return cls(429, "rate_limit", message, code="refused_too_often", headers=headers)

    @classmethod
    def too_many_uploads(cls) -> ApiError:
        """429 that does not count: the bodies of the account's requests together are as large as they may be."""
        message = "The request bodies of your account that are under way are together too large. Wait for one to end."
        return cls(429, "rate_limit", message, code="too_many_uploads", headers=retry_headers(1))

    @classmethod
    def too_many_connections(cls) -> ApiError:
        """429 before a request: this source address has all the connections that it may have."""
        message = "There are too many connections from your address. Use those that are open."
        return cls(429, "rate_limit", message, code="too_many_connections", headers=retry_headers(1))

    @classmethod
    def http_version(cls) -> ApiError:
        """505: neither HTTP/1.1 nor HTTP/1.0."""
        return cls(505, INVALID, "This server speaks HTTP/1.1 and HTTP/1.0.", code="http_version_not_supported")

    # 5xx: ours and our peers'

    @classmethod
    def upstream_error(cls, message: str = "The model is not available at the moment. Try again.") -> ApiError:
        """502: the engine or provider does not answer, died, or answered nonsense."""
        return cls(502, "upstream_error", message, code="upstream_error")

    @classmethod
    def service_unavailable(
        cls,
        message: str = "The service is not available at the moment. Try again.",
        code: str | None = None,
        retry_after: float | None = None,
    ) -> ApiError:
        """503: auth or quota cannot be asked, or this edge is draining. retry_after in seconds."""
        headers = {} if retry_after is None else retry_headers(retry_after)
        return cls(503, "service_unavailable", message, code=code, headers=headers)

    @classmethod
    def no_room(cls) -> ApiError:
        """503: this edge holds all the connections, or all the bytes of request bodies, that it may hold."""
        return cls.service_unavailable("The server is busy. Try again.", "server_overloaded", 1.0)

    @classmethod
    def overloaded(cls, retry_after: float = 1.0) -> ApiError:
        """503: the engine's queue is full; retry_after in seconds."""
        return cls.service_unavailable("The model is busy. Try again later.", "engine_overloaded", retry_after)

    @classmethod
    def too_many_answers(cls) -> ApiError:
        """503: this edge has as many answers open, or charges under way, as it may."""
        message = "This server has as many answers running as it may. Try again."
        return cls.service_unavailable(message, "engine_overloaded", 1.0)

    @classmethod
    def deadline_exceeded(cls) -> ApiError:
        """503: the request's whole time is over."""
        return cls.service_unavailable("The request took longer than it may.", "deadline_exceeded")

    @classmethod
    def internal(cls, request_id: str | None = None) -> ApiError:
        """500: a defect of ours; shows only the request's id (of the current request, when none is given)."""
        shown = request_id or ids.current.get() or "unknown"
        return cls(500, "api_error", f"Something went wrong on our side. Request id: {shown}", code="internal_error")


def retry_headers(seconds: float) -> dict[str, str]:
    """Retry-After in whole seconds, rounded up (RFC 9110 §10.2.3), and in milliseconds as the SDKs prefer it."""
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(max(1, math.ceil(seconds * 1000)))}


def _shown(text: str, limit: int = 100) -> str:
    clipped = text if len(text) <= limit else text[:limit] + "…"
    return f"`{clipped}`"


# The table. Row: what the peer said -> what the client sees.

_KEY_REASONS = {
    "KEY_UNKNOWN": "Incorrect API key provided.",
    "KEY_REVOKED": "This API key was revoked.",
    "KEY_EXPIRED": "This API key has expired.",
    "ACCOUNT_SUSPENDED": "The account of this API key is suspended.",
}

_UNREACHED: dict[Service, Callable[[], ApiError]] = {
    "auth": lambda: ApiError.service_unavailable("API keys cannot be checked at the moment. Try again."),
    "quota": lambda: ApiError.service_unavailable("Credits cannot be checked at the moment. Try again."),
    "inference": ApiError.upstream_error,
}

_INFERENCE_REASONS = frozenset(inference_pb2.Failed.Reason.keys())
_ABSENT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


def from_rpc_failure(failure: RpcFailure, service: Service) -> ApiError:
    """What a failed unary call or stream to a peer is to the client."""
    if failure.code is grpc.StatusCode.UNAUTHENTICATED and failure.reason in _KEY_REASONS:
        return ApiError.invalid_api_key(_KEY_REASONS[failure.reason])
    if failure.reason == "RANGE_INVALID":
        return ApiError.invalid("The range of days is not valid.", param="start")
    if failure.reason in ("CURSOR_MALFORMED", "PAGE_TOKEN_MALFORMED"):  # quota's name for it, and what it will be
        return ApiError.invalid("'after' is not the id of a charge of this account.", param="after")
    if service == "inference" and f"REASON_{failure.reason}" in _INFERENCE_REASONS:
        reason = inference_pb2.Failed.Reason.Value(f"REASON_{failure.reason}")
        error = _inference(reason, failure.message, failure.metadata.get("param"), failure.retry_after)
        error.spent = _milliseconds(failure.metadata.get("spent_ms"))
        return error
    if failure.code in _ABSENT:
        return _UNREACHED[service]()
    return ApiError.internal()


def from_refusal(reason: int, *, retry_after: float = 1.0, window: RateWindow | None = None) -> ApiError:
    """What quota's refusal of an operation is to the client; retry_after in seconds."""
    refused = quota_pb2.Refused
    match reason:
        case refused.REASON_RATE_LIMITED:
            return ApiError.rate_limited(retry_after, window)
        case refused.REASON_INSUFFICIENT_CREDITS:
            return ApiError.insufficient_credits(window)
        case refused.REASON_KEY_LIMIT_REACHED:
            return ApiError.key_limit_reached(window)
        case refused.REASON_LOSSES_TOO_HIGH:
            return ApiError.refused_too_often(
                retry_after, "Your requests have caused too much work today that was not charged."
            )
        case refused.REASON_NO_PRICE:
            return ApiError.service_unavailable("This model has no price at the moment, so it cannot be used.")
        case refused.REASON_UNAVAILABLE:
            return _UNREACHED["quota"]()
        case _:  # HOLD_CONFLICT, HOLD_ENDED, INVALID: the edge itself did something wrong
            return ApiError.internal()


def from_inference_failure(failed: inference_pb2.Failed) -> ApiError:
    """What one generation's failure is to the client."""
    retry_after = failed.retry_after.ToMicroseconds() / 1e6 if failed.HasField("retry_after") else None
    error = _inference(failed.reason, failed.message, failed.param or None, retry_after)
    if failed.HasField("spent"):
        error.spent = failed.spent.ToMicroseconds() / 1e6
    return error


def _milliseconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text) / 1000
    except ValueError:  # another version's way to say it
        return None


def _inference(reason: int, message: str, param: str | None, retry_after: float | None) -> ApiError:
    failed = inference_pb2.Failed
    match reason:
        case failed.REASON_INVALID_REQUEST:
            return ApiError.invalid(message or "The model cannot take this request.", param=param)
        case failed.REASON_CONTEXT_TOO_LONG:
            text = message or "The prompt is longer than the model's context."
            return ApiError.invalid(text, param=param or "messages", code="context_length_exceeded")
        case failed.REASON_IMAGE_NOT_SUPPORTED:
            text = message or "This model cannot take images."
            return ApiError.invalid(text, param=param or "messages", code="image_not_supported")
        case failed.REASON_INVALID_IMAGE:
            return ApiError.invalid(message or "An image cannot be read.", param=param, code="invalid_image")
        case failed.REASON_INVALID_IMAGE_URL:
            text = message or "An image cannot be downloaded."
            return ApiError.invalid(text, param=param, code="invalid_image_url")
        case failed.REASON_ENGINE_UNAVAILABLE | failed.REASON_MODEL_UNKNOWN:
            # The alias was known a moment ago: this replica has not got the model (any more), so a retry may find one.
            return ApiError.upstream_error()
        case failed.REASON_OVERLOADED:
            return ApiError.overloaded(retry_after or 1.0)
        case failed.REASON_DEADLINE_EXCEEDED:
            return ApiError.deadline_exceeded()
        case _:
            return ApiError.internal()
