"""Every error status of the reference, each from a real cause, with the SDK's class for it."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.worlds.processes import Account, Platform


def ask(client: OpenAI, **options: Any) -> Any:
    request = {"model": "muh-chat", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8, **options}
    return client.chat.completions.create(**request)


def shape(error: openai.APIStatusError) -> dict[str, Any]:
    """The error object; it has OpenAI's four fields and no others."""
    document = error.response.json()
    assert set(document) == {"error"}
    assert set(document["error"]) == {"message", "type", "param", "code"}
    assert error.response.headers["x-request-id"]
    fields: dict[str, Any] = document["error"]
    return fields


@pytest.mark.parametrize("key", ["mghp_your_key_here", "sk-something", "mghp_" + "a" * 36])
def test_a_key_that_does_not_exist_is_401(platform: Platform, key: str) -> None:
    with pytest.raises(openai.AuthenticationError) as error, platform.openai(key) as client:
        ask(client)
    assert (shape(error.value)["type"], shape(error.value)["code"]) == ("invalid_request_error", "invalid_api_key")


def test_a_revoked_key_is_401_at_once(platform: Platform, account: Account, client: OpenAI) -> None:
    ask(client)
    assert platform.muhgpt("keys", "revoke", account.key_id)["state"] == "revoked"
    with pytest.raises(openai.AuthenticationError):
        ask(client)


def test_a_suspended_account_is_401_until_it_is_resumed(platform: Platform, account: Account, client: OpenAI) -> None:
    ask(client)
    platform.muhgpt("accounts", "suspend", account.email)
    with pytest.raises(openai.AuthenticationError):
        ask(client)
    platform.muhgpt("accounts", "resume", account.email)
    ask(client)


def test_no_credits_is_402(platform: Platform) -> None:
    with pytest.raises(openai.APIStatusError) as error, platform.openai(platform.account(credits=0).key) as client:
        ask(client)
    assert error.value.status_code == 402
    assert (shape(error.value)["type"], shape(error.value)["code"]) == ("insufficient_quota", "insufficient_credits")
    assert error.value.response.headers["x-should-retry"] == "false"


def test_a_key_at_its_monthly_limit_is_402_with_another_code(platform: Platform) -> None:
    account = platform.account(monthly_credit_limit=1)
    with pytest.raises(openai.APIStatusError) as error, platform.openai(account.key) as client:
        ask(client)
    assert error.value.status_code == 402
    assert shape(error.value)["type"] == "insufficient_quota"
    assert shape(error.value)["code"] != "insufficient_credits"


def test_a_model_outside_the_keys_list_is_403(platform: Platform) -> None:
    account = platform.account(allowed_models=["gpt-4o"])
    with platform.openai(account.key) as client:
        ask(client, model="gpt-4o")
        with pytest.raises(openai.PermissionDeniedError) as error:
            ask(client, model="muh-chat")
        assert [model.id for model in client.models.list()] == ["gpt-4o"]
    assert shape(error.value)["type"] == "model_not_allowed"


def test_an_unknown_model_is_404(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        ask(client, model="gpt-17")
    assert shape(error.value)["code"] == "model_not_found"


def test_a_body_that_is_too_large_is_413(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as error:
        ask(client, messages=[{"role": "user", "content": "a" * (21 * 1024 * 1024)}])
    assert error.value.status_code == 413
    assert shape(error.value)["type"] == "invalid_request_error"


def test_more_requests_than_the_limit_are_429_with_the_time_to_wait(platform: Platform) -> None:
    account = platform.account(per_minute=2)
    with platform.openai(account.key) as client:
        ask(client)
        ask(client)
        with pytest.raises(openai.RateLimitError) as error:
            ask(client)
        assert client.models.list().data, "reading does not count"
    headers = error.value.response.headers
    assert shape(error.value)["type"] == "rate_limit"
    assert 1 <= int(headers["retry-after"]) <= 60
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("2", "0")
    assert platform.usage(account.key)["totals"]["requests"] == 2


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"messages": []}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ],
)
def test_a_field_out_of_range_is_400_and_named(client: OpenAI, options: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, **options)
    assert (shape(error.value)["type"], shape(error.value)["param"]) == ("invalid_request_error", param)
    assert "x-ratelimit-limit-requests" in error.value.response.headers


def test_a_prompt_longer_than_the_context_is_400(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, messages=[{"role": "user", "content": "one two three " * 3000}])
    assert shape(error.value)["code"] == "context_length_exceeded"


def test_errors_charge_nothing(platform: Platform, account: Account, client: OpenAI) -> None:
    for options in ({"temperature": 3}, {"model": "gpt-17"}):
        with pytest.raises(openai.APIStatusError):
            ask(client, **options)
    usage = platform.usage(account.key)
    assert (usage["balance"], usage["totals"]["requests"]) == (1_000_000, 0)
