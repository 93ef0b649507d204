"""The SDK's other ways in: async, raw responses, request ids, streams that are left early."""

from __future__ import annotations

import asyncio

import openai
import pytest
from sdk import ask, client, known, needs
from surroundings import BASE_URL, HELLO, KEY

STORY = [{"role": "user", "content": "Tell me a story"}]


def test_the_async_client_answers_and_streams_many_at_once() -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as sdk:
            answers = await asyncio.gather(*(ask(sdk, max_tokens=4) for _ in range(8)))
            assert all(answer.choices[0].message.content for answer in answers)
            stream = await ask(sdk, stream=True)
            chunks = [chunk async for chunk in stream]
            assert chunks[-1].choices[0].finish_reason in ("stop", "length")
            assert [model.id async for model in sdk.models.list()]

    asyncio.run(asyncio.wait_for(main(), 60))


def test_an_async_error_is_the_same_class() -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=BASE_URL, api_key="mghp_wrong", max_retries=0) as sdk:
            await ask(sdk)

    with pytest.raises(openai.AuthenticationError):
        asyncio.run(asyncio.wait_for(main(), 60))


def test_a_raw_response_has_the_headers_and_parses() -> None:
    with client() as sdk:
        raw = sdk.chat.completions.with_raw_response
        response = raw.create(**known(sdk.chat.completions.create, {"max_tokens": 5}))
    assert response.headers["x-request-id"].startswith("req_")
    assert int(response.headers["x-ratelimit-limit-requests"]) >= 1
    assert int(response.headers["x-ratelimit-remaining-requests"]) >= 0
    assert response.headers["x-muhgpt-max-tokens"] == "5"
    answer = response.parse()
    assert answer.choices[0].message.content
    assert answer.id.removeprefix("chatcmpl-") == response.headers["x-request-id"].removeprefix("req_")


@needs(1, 50, "_request_id")
def test_answers_and_errors_know_their_request_id() -> None:
    with client() as sdk:
        assert ask(sdk, max_tokens=2)._request_id.startswith("req_")
    with client("mghp_wrong") as sdk, pytest.raises(openai.AuthenticationError) as raised:
        ask(sdk)
    assert str(raised.value.request_id).startswith("req_")


def test_a_stream_that_is_left_early_harms_nothing() -> None:
    with client() as sdk:
        for _ in range(5):
            stream = ask(sdk, messages=STORY, stream=True)
            assert next(iter(stream)).choices[0].delta.role == "assistant"
            getattr(stream, "close", stream.response.close)()
        assert ask(sdk, max_tokens=4).choices[0].message.content


@needs(1, 21, "with_streaming_response")
def test_a_streaming_response_shows_the_bytes() -> None:
    with client() as sdk:
        streaming = sdk.chat.completions.with_streaming_response
        with streaming.create(model="muh-chat", messages=HELLO, stream=True) as response:
            lines = [line for line in response.iter_lines() if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


def test_clients_made_from_another_by_with_options_work() -> None:
    with client() as sdk:
        assert ask(sdk.with_options(timeout=30, max_retries=2), max_tokens=2).choices
