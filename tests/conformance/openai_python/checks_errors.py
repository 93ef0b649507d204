"""Every error that a user can meet is the SDK's own class for it, and only what should be retried is."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from sdk import VERSION, Counted, ask, client
from surroundings import HELLO, KEY, KEY_OF_ONE_MODEL, KEY_OF_ONE_REQUEST, KEY_WITHOUT_CREDITS, WEATHER, WRONG_KEY

UNWRAPS = VERSION >= (1, 3)  # older SDKs look for type, param and code beside "error" instead of in it


def refused(key: str, kind: type[openai.APIStatusError], **fields: Any) -> tuple[openai.APIStatusError, dict[str, Any]]:
    """The error that a request ends in, streamed or not, and its body."""
    found = []
    for stream in (False, True):
        with client(key) as sdk, pytest.raises(kind) as raised:
            ask(sdk, stream=stream, **fields)
        found.append(raised.value.response.json())
        assert set(found[-1]) == {"error"}
        assert set(found[-1]["error"]) == {"message", "type", "param", "code"}
        assert raised.value.response.headers["x-request-id"]
        if UNWRAPS:
            assert {name: getattr(raised.value, name) for name in ("type", "param", "code")} == _without_message(
                found[-1]
            )
    assert found[0] == found[1]
    return raised.value, found[0]["error"]


def _without_message(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document["error"].items() if name != "message"}


def test_a_wrong_key_is_an_authentication_error() -> None:
    for key in (WRONG_KEY, "mghp_your_key_here", "sk-of-another-service"):
        error, body = refused(key, openai.AuthenticationError)
        assert (error.status_code, body["code"], body["type"]) == (401, "invalid_api_key", "invalid_request_error")


def test_no_credits_is_402_with_the_reason() -> None:
    error, body = refused(KEY_WITHOUT_CREDITS, openai.APIStatusError)
    assert (error.status_code, body["type"], body["code"]) == (402, "insufficient_quota", "insufficient_credits")
    assert body["message"] in str(error)


def test_a_model_that_the_key_may_not_use_is_a_permission_error() -> None:
    error, body = refused(KEY_OF_ONE_MODEL, openai.PermissionDeniedError)
    assert (error.status_code, body["type"]) == (403, "model_not_allowed")
    with client(KEY_OF_ONE_MODEL) as sdk:
        assert ask(sdk, model="gpt-4o", max_tokens=2).choices
        assert [model.id for model in sdk.models.list()] == ["gpt-4o"]


def test_an_unknown_model_is_not_found() -> None:
    _, body = refused(KEY, openai.NotFoundError, model="gpt-17")
    assert (body["code"], body["param"]) == ("model_not_found", "model")
    with client() as sdk, pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gpt-17")


def test_what_the_platform_does_not_have_is_not_found() -> None:
    with client() as sdk, pytest.raises(openai.NotFoundError):
        sdk.embeddings.create(model="muh-chat", input="x")


def test_a_body_that_is_too_large_is_413() -> None:
    error, body = refused(KEY, openai.APIStatusError, messages=[{"role": "user", "content": "a" * (21 * 1024 * 1024)}])
    assert (error.status_code, body["type"]) == (413, "invalid_request_error")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "user", "content": [{"type": "smell"}]}]}, "messages[1].content[0].type"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "colour"}}}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_a_bad_field_is_a_bad_request_that_names_it(fields: dict[str, Any], param: str) -> None:
    error, body = refused(KEY, openai.BadRequestError, **fields)
    assert (error.status_code, body["type"], body["param"]) == (400, "invalid_request_error", param)
    assert param.rpartition(".")[2].partition("[")[0] in body["message"]


def test_a_prompt_longer_than_the_context_is_a_bad_request() -> None:
    _, body = refused(KEY, openai.BadRequestError, messages=[{"role": "user", "content": "one two three " * 3000}])
    assert body["code"] == "context_length_exceeded"


def test_a_full_window_is_a_rate_limit_error_and_is_retried_when_the_server_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)  # so that the check need not wait for the minute to be over
    counted = Counted()
    with client(KEY_OF_ONE_REQUEST, max_retries=1, http_client=counted.client) as sdk:
        ask(sdk, max_tokens=1)
        with pytest.raises(openai.RateLimitError) as raised:
            ask(sdk, max_tokens=1)
    assert len(counted.requests) == 3
    headers = raised.value.response.headers
    assert raised.value.status_code == 429
    assert raised.value.response.json()["error"]["type"] == "rate_limit"
    assert 1 <= int(headers["retry-after"]) <= 60
    assert slept == [pytest.approx(int(headers["retry-after"]), abs=2)]


@pytest.mark.parametrize(
    ("key", "status", "fields"),
    [(KEY_WITHOUT_CREDITS, 402, {}), (WRONG_KEY, 401, {}), (KEY, 400, {"n": 0})],
    ids=["402", "401", "400"],
)
def test_what_a_retry_cannot_help_is_not_retried(key: str, status: int, fields: dict[str, Any]) -> None:
    counted = Counted()
    with client(key, max_retries=3, http_client=counted.client) as sdk, pytest.raises(openai.APIStatusError) as raised:
        ask(sdk, **fields)
    assert (raised.value.status_code, len(counted.requests)) == (status, 1)


def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    nowhere = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key=KEY, max_retries=0)
    with nowhere as sdk, pytest.raises(openai.APIConnectionError):
        ask(sdk)


def test_a_clients_own_time_out_is_its_error_and_the_next_request_is_served() -> None:
    with client(timeout=0.001) as sdk, pytest.raises(openai.APITimeoutError):
        ask(sdk)
    with client() as sdk:
        assert ask(sdk, max_tokens=2).choices
