"""The one table from the peers' failures to what a client sees."""

from __future__ import annotations

import json

import grpc
import pytest

from muhgpt.inference.v1 import inference_pb2
from muhgpt.quota.v1 import quota_pb2
from servicekit.rpc.status import RpcFailure
from services.edge.http.errors import ApiError, Service, from_inference_failure, from_refusal, from_rpc_failure
from services.edge.serving.answer import RateWindow

CODE = grpc.StatusCode


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
def test_a_failed_call_is_this_status(service: Service, code: grpc.StatusCode, reason: str, status: int) -> None:
    error = from_rpc_failure(RpcFailure(code, "secret detail" if status >= 500 else "", reason), service)
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
    value = quota_pb2.Refused.Reason.Value(f"REASON_{reason}")
    error = from_refusal(value, retry_after=2.2, window=RateWindow(60, 0, 2.2))
    assert (error.status, error.type, error.code) == (status, type, code)


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
    error = from_inference_failure(inference_pb2.Failed(reason=value, message="what inference says", param="tools"))
    assert error.status == status
    assert (error.message == "what inference says") is shown
    assert (error.param == "tools") is shown


def test_every_error_has_the_one_shape() -> None:
    for error in (ApiError.internal("req_1"), ApiError.not_json(), ApiError.model_not_found("x" * 5000)):
        document = json.loads(error.body())
        assert set(document) == {"error"}
        assert set(document["error"]) == {"message", "type", "param", "code"}
        assert len(error.message) < 300
