"""What the reference promises, through the official SDK and curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.worlds.processes import Account, Platform


def test_the_python_quickstart_answers(client: OpenAI) -> None:
    resp = client.chat.completions.create(
        model="muh-chat",
        messages=[{"role": "user", "content": "Hello!"}],
    )
    assert resp.choices[0].message.content
    assert resp.model == "muh-chat"
    assert resp.choices[0].finish_reason in ("stop", "length")
    assert resp.usage is not None
    assert resp.usage.total_tokens == resp.usage.prompt_tokens + resp.usage.completion_tokens
    assert resp.usage.completion_tokens >= 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_quickstart_answers(platform: Platform, account: Account) -> None:
    command = f"""
curl -sS {platform.base_url}/chat/completions \\
-H "Authorization: Bearer $MUHGPT_API_KEY" \\
-H "Content-Type: application/json" \\
-d '{{
"model": "muh-chat",
"messages": [{{"role": "user", "content": "Hello!"}}]
}}'
"""
    answer = subprocess.run(
        ["sh", "-c", command],
        env={"MUHGPT_API_KEY": account.key, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=60,
    )
    assert json.loads(answer.stdout)["choices"][0]["message"]["content"]


def test_the_streaming_example_runs_unchanged_and_its_last_chunk_has_usage(client: OpenAI) -> None:
    printed, chunks = "", []
    stream = client.chat.completions.create(
        model="muh-chat",
        messages=[{"role": "user", "content": "Write a haiku"}],
        stream=True,
    )
    for chunk in stream:
        printed += chunk.choices[0].delta.content or ""
        chunks.append(chunk)
    assert printed
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens >= 1
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_a_stream_with_include_usage_ends_with_a_chunk_without_choices(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="muh-chat",
        messages=[{"role": "user", "content": "Hello!"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert all(chunk.usage is None and chunk.choices for chunk in chunks[:-1])


def test_a_stream_ends_with_done_and_is_not_cached(platform: Platform, account: Account) -> None:
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    headers = {"authorization": f"Bearer {account.key}"}
    answer = httpx.post(f"{platform.base_url}/chat/completions", json=body, headers=headers, timeout=60)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-request-id"]
    assert answer.text.endswith("data: [DONE]\n\n")


def test_max_tokens_is_exact_and_told_as_length(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="muh-chat", messages=[{"role": "user", "content": "Count to twenty."}], max_tokens=3
    )
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (3, "length")


WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"]}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
SAME: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0, "max_tokens": 60},
    "sampled": {"temperature": 1.3, "max_tokens": 60},
    "cut": {"max_tokens": 3},
    "two choices": {"n": 2, "max_tokens": 30},
    "logprobs": {"logprobs": True, "top_logprobs": 2, "max_tokens": 20},
    "a forced call": {"tools": TOOLS, "tool_choice": NAMED, "temperature": 1.5},
    "a call cut": {"tools": TOOLS, "tool_choice": NAMED, "max_tokens": 9},
    "json": {"response_format": {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}},
}


@pytest.mark.parametrize("options", SAME.values(), ids=SAME)
def test_a_seed_gives_the_same_answer_and_usage_streamed_and_not(client: OpenAI, options: dict[str, Any]) -> None:
    request = {"model": "muh-chat", "messages": [{"role": "user", "content": "Write a haiku"}], "seed": 7, **options}
    whole = client.chat.completions.create(**request)
    chunks = list(client.chat.completions.create(**request, stream=True))
    assert chunks[-1].usage == whole.usage
    for choice in whole.choices:
        parts = [part for chunk in chunks for part in chunk.choices if part.index == choice.index]
        calls = [call for part in parts for call in part.delta.tool_calls or []]
        assert "".join(part.delta.content or "" for part in parts) == (choice.message.content or "")
        assert "".join(call.function.arguments for call in calls) == "".join(
            call.function.arguments for call in choice.message.tool_calls or []
        )
        assert parts[-1].finish_reason == choice.finish_reason
        if options.get("logprobs"):
            told = [token for part in parts if part.logprobs for token in part.logprobs.content or []]
            assert told == choice.logprobs.content


@pytest.mark.parametrize("alias", ["muh-chat", "gpt-3.5-turbo", "gpt-4o-mini", "gpt-4o"])
def test_every_alias_answers_under_its_own_name(client: OpenAI, alias: str) -> None:
    answer = client.chat.completions.create(model=alias, messages=[{"role": "user", "content": "Hi"}], max_tokens=4)
    assert answer.model == alias


def test_the_models_of_the_reference_are_listed(client: OpenAI) -> None:
    assert {"muh-chat", "gpt-3.5-turbo", "gpt-4o-mini", "gpt-4o"} == {model.id for model in client.models.list()}
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"


def test_the_first_key_of_a_first_start_works(platform: Platform) -> None:
    assert platform.first_key is not None
    assert platform.usage(platform.first_key)["balance"] <= 14_000_000
    answer = platform.openai(platform.first_key).chat.completions.create(
        model="muh-chat", messages=[{"role": "user", "content": "Hello!"}]
    )
    assert answer.choices[0].message.content


def test_health_readiness_and_openapi_are_served_beside_the_api_and_metrics_are_not(platform: Platform) -> None:
    root = platform.base_url.removesuffix("/v1")
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert httpx.get(root + path, timeout=30).status_code == 200, path
    assert httpx.get(root + "/metrics", timeout=30).status_code == 404
