"""The one switch from failures, the peers' among them, to what a client sees."""

from __future__ import annotations

import json

import grpc
import pytest

from muhgpt.inference.v1 import inference_pb2
from muhgpt.quota.v1 import quota_pb2
from servicekit.rpc.status import RpcFailure
from services.edge.endpoints.errors import to_api_error
from services.edge.http.errors import ApiError
from services.edge.peers.auth.peer import from_authenticate
from services.edge.peers.inference.from_inference import from_hand_over, to_failure
from services.edge.peers.quota.from_quota import from_query, to_refused
from services.edge.peers.quota.rate_window import Limit, RateWindow

CODE = grpc.StatusCode
FROM_CALL = {"auth": from_authenticate, "quota": from_query, "inference": from_hand_over}


@pytest.mark.parametrize(
    ("service", "code", "reason", "status"),
    [
        ("auth", CODE.UNAUTHENTICATED, "KEY_UNKNOWN", 401),
        ("auth", CODE.UNAUTHENTICATED, "KEY_REVOKED", 401),
        ("auth", CODE.UNAUTHENTICATED, "KEY_EXPIRED", 401),
        ("auth", CODE.UNAUTHENTICATED, "ACCOUNT_SUSPENDED", 401),
        ("auth", CODE.UNAUTHENTICATED, "CALLER_UNKNOWN", 500),  # the edge's own token: not the client's fault
        ("auth", CODE.UNAVAILABLE, "DATABASE_UNAVAILABLE", 503),
        ("auth", CODE.UNAVAILABLE, "", 503),
        ("auth", CODE.DEADLINE_EXCEEDED, "", 503),
        ("quota", CODE.UNAVAILABLE, "", 503),
        ("quota", CODE.INVALID_ARGUMENT, "RANGE_INVALID", 400),
        ("quota", CODE.INTERNAL, "", 500),
        ("inference", CODE.UNAVAILABLE, "", 502),
        ("inference", CODE.UNAVAILABLE, "ENGINE_UNAVAILABLE", 502),
        ("inference", CODE.INVALID_ARGUMENT, "CONTEXT_TOO_LONG", 400),
        ("inference", CODE.RESOURCE_EXHAUSTED, "OVERLOADED", 503),
        ("inference", CODE.UNKNOWN, "", 500),
    ],
)
def test_a_failed_call_is_this_status(service: str, code: grpc.StatusCode, reason: str, status: int) -> None:
    error = to_api_error(FROM_CALL[service](RpcFailure(code, "secret detail" if status >= 500 else "", reason)))
    assert error.status == status
    assert "secret detail" not in error.message


@pytest.mark.parametrize(
    ("reason", "status", "type", "code"),
    [
        ("RATE_LIMITED", 429, "rate_limit", "rate_limit_exceeded"),
        ("INSUFFICIENT_CREDITS", 402, "insufficient_quota", "insufficient_credits"),
        ("KEY_LIMIT_REACHED", 402, "insufficient_quota", "key_limit_reached"),
        ("NO_PRICE", 503, "service_unavailable", None),
        ("UNAVAILABLE", 503, "service_unavailable", None),
        ("HOLD_CONFLICT", 500, "api_error", "internal_error"),
    ],
)
def test_a_refusal_of_quota_is_this_error(reason: str, status: int, type: str, code: str | None) -> None:
    message = quota_pb2.Refused(reason=quota_pb2.Refused.Reason.Value(f"REASON_{reason}"))
    error = to_api_error(to_refused(message))
    assert (error.status, error.type, error.code) == (status, type, code)


@pytest.mark.parametrize(
    ("limit", "named", "text"),
    [
        ("KEY", Limit.KEY, "Rate limit of this API key reached (5 requests a minute). Try again in 3 s."),
        ("ACCOUNT", Limit.ACCOUNT, "Rate limit reached (5 requests a minute). Try again in 3 s."),
        ("UNSPECIFIED", None, "Rate limit reached (5 requests a minute). Try again in 3 s."),
    ],
)
def test_the_limit_that_refused_is_named(limit: str, named: Limit | None, text: str) -> None:
    message = quota_pb2.Refused(
        reason=quota_pb2.Refused.REASON_RATE_LIMITED,
        limit=quota_pb2.Refused.Limit.Value(f"LIMIT_{limit}"),
        window=quota_pb2.RateWindow(limit=5, remaining=0),
    )
    message.retry_after.FromMilliseconds(2200)
    message.window.reset_after.FromMilliseconds(2500)
    refused = to_refused(message)
    assert (refused.limit, refused.window) == (named, RateWindow(5, 0, 2.5))
    assert to_api_error(refused).message == text


def test_a_reason_that_a_newer_quota_gives_is_a_500() -> None:
    assert to_api_error(to_refused(quota_pb2.Refused(reason=4711))).status == 500  # type: ignore[arg-type]


def test_retry_after_is_whole_seconds_rounded_up_and_never_zero() -> None:
    assert ApiError.rate_limited(2.2).headers["retry-after"] == "3"
    assert ApiError.rate_limited(0.0).headers["retry-after"] == "1"
    assert ApiError.rate_limited(2.2).headers["retry-after-ms"] == "2200"


def test_no_client_retries_what_money_alone_can_change() -> None:
    assert ApiError.insufficient_credits().headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("reason", "status", "shown"),
    [
        ("INVALID_REQUEST", 400, True),
        ("CONTEXT_TOO_LONG", 400, True),
        ("IMAGE_NOT_SUPPORTED", 400, True),
        ("INVALID_IMAGE", 400, True),
        ("INVALID_IMAGE_URL", 400, True),
        ("MODEL_UNKNOWN", 502, False),
        ("ENGINE_UNAVAILABLE", 502, False),
        ("OVERLOADED", 503, False),
        ("DEADLINE_EXCEEDED", 503, False),
        ("INTERNAL", 500, False),
    ],
)
def test_a_failed_generation_is_this_error(reason: str, status: int, shown: bool) -> None:
    value = inference_pb2.Failed.Reason.Value(f"REASON_{reason}")
    error = to_api_error(to_failure(inference_pb2.Failed(reason=value, message="what inference says", param="tools")))
    assert error.status == status
    assert (error.message == "what inference says") is shown
    assert (error.param == "tools") is shown


def test_every_error_has_the_one_shape() -> None:
    for error in (ApiError.internal("req_1"), ApiError.not_json(), ApiError.model_not_found("x" * 5000)):
        document = json.loads(error.body())
        assert set(document) == {"error"}
        assert set(document["error"]) == {"message", "type", "param", "code"}
        assert len(error.message) < 300
