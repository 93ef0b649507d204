"""Every error that a client can see, in one shape (docs/wire.md, G10). endpoints/errors.py turns failures into these.

Messages are for the client: they name no internals, and they hold nothing of a prompt, an answer or a key.
"""

from __future__ import annotations

import math

from servicekit.rpc import request_id as ids
from services.edge.http import wire_json

INVALID = "invalid_request_error"


class ApiError(Exception):
    """One refusal or failure as the client sees it: status, OpenAI's four fields, and headers."""

    def __init__(
        self,
        status: int,
        type: str,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.message = message
        self.param = param
        self.code = code
        self.headers = headers or {}

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
    def insufficient_credits(cls) -> ApiError:
        """402: the balance cannot pay the prompt and one output token."""
        message = "Your credits do not cover this request. Buy credits, or shorten the prompt."
        return cls._payment(message, "insufficient_credits")

    @classmethod
    def key_limit_reached(cls) -> ApiError:
        """402: the key's monthly ceiling cannot pay the prompt and one output token."""
        message = "This key's monthly credit limit does not cover this request. Raise the limit, or use another key."
        return cls._payment(message, "key_limit_reached")

    @classmethod
    def _payment(cls, message: str, code: str) -> ApiError:
        return cls(402, "insufficient_quota", message, code=code, headers={"x-should-retry": "false"})

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
    def rate_limited(cls, retry_after: float, limit: int | None = None, *, of_key: bool = False) -> ApiError:
        """429: the rate window of the account, or the key's own, is full.

        `limit` is in requests a minute; retry_after in seconds is when one more is admitted.
        """
        headers = retry_headers(retry_after)
        whose = "Rate limit of this API key" if of_key else "Rate limit"
        reached = "reached" if limit is None else f"reached ({limit} requests a minute)"
        message = f"{whose} {reached}. Try again in {headers['retry-after']} s."
        return cls(429, "rate_limit", message, code="rate_limit_exceeded", headers=headers)

    @classmethod
    def too_many_streams(cls, limit: int) -> ApiError:
        """429 that does not count: the account has its bound of answers open already."""
        message = f"Your account has {limit} answers running, as many as it may. Wait for one to end."
        return cls(429, "rate_limit", message, code="too_many_streams", headers=retry_headers(1))

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
