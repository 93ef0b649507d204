"""Answers over real HTTP, read by the official SDK."""

from __future__ import annotations

import asyncio
import base64

import openai
import pytest

from common.reasons import Reason
from services.edge.endpoints.endpoint import HotLimits
from services.edge.endpoints.errors import to_api_error
from services.edge.peers.errors import Failure, GenerationFailed, KeyRevoked, Refused, Service, Unavailable
from services.edge.peers.quota.rate_window import RateWindow
from services.edge.serving.answer import Batch, Delta, ToolCallDelta, Usage
from tests.worlds.in_process.http_edge import Edge, StartEdge
from tests.worlds.in_process.scripted_gateway import KEY, ScriptedGateway, text_answer

HELLO = [{"role": "user", "content": "Hello!"}]
FULL = Refused(Reason.RATE_LIMITED, retry_after=1.5, window=RateWindow(60, 0, 1.5))


def sdk(edge: Edge, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{edge.url}/v1", api_key=key, max_retries=0)


async def test_the_references_quickstart_works(edge: Edge) -> None:
    async with sdk(edge) as client:
        answer = await client.chat.completions.create(model="muh-chat", messages=HELLO)
    assert answer.choices[0].message.content == "Hello there"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9
    assert answer.id.startswith("chatcmpl-")


async def test_the_references_streaming_example_works_unchanged(edge: Edge) -> None:
    text, chunk = "", None
    async with sdk(edge) as client:
        stream = await client.chat.completions.create(model="muh-chat", messages=HELLO, stream=True)
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text == "Hello there"
    assert chunk is not None
    assert chunk.usage is not None
    assert chunk.choices[0].finish_reason == "stop"


async def test_with_include_usage_the_sdk_gets_a_chunk_without_choices(edge: Edge) -> None:
    async with sdk(edge) as client:
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert {chunk.model for chunk in chunks} == {"gpt-4o"}


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls_reach_the_sdk(start_edge: StartEdge, stream: bool) -> None:
    steps = [
        Batch([Delta(0, "", tool_calls=(ToolCallDelta(0, "call_1", "get_weather", ""),))]),
        Batch([Delta(0, "", tool_calls=(ToolCallDelta(0, "", "", '{"city":"Lisbon"}'),))]),
        Batch([Delta(0, "", finish_reason="tool_calls")], Usage(5, 9)),
    ]
    edge = await start_edge(ScriptedGateway(steps=steps))
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    async with sdk(edge) as client:
        if stream:
            async with client.chat.completions.stream(model="muh-chat", messages=HELLO, tools=tools) as events:
                answer = await events.get_final_completion()
        else:
            answer = await client.chat.completions.create(model="muh-chat", messages=HELLO, tools=tools)
    [call] = answer.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Lisbon"}')
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_what_was_asked_reaches_the_pipeline(edge: Edge) -> None:
    image = "data:image/png;base64," + base64.b64encode(b"\x89PNG" * 100_000).decode()
    part = {"type": "image_url", "image_url": {"url": image}}
    answer = await edge.chat(messages=[{"role": "user", "content": [part]}], max_tokens=50, n=1, temperature=0.5)
    assert answer.status_code == 200
    [opened] = edge.gateway.opened
    assert (opened.alias, opened.max_tokens, opened.choices) == ("muh-chat", 50, 1)
    assert opened.request.messages[0].content[0].image.data == b"\x89PNG" * 100_000
    assert opened.request_id == answer.headers["x-request-id"]


async def test_headers_of_an_answer(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(window=RateWindow(60, 41, 12.3456)))
    for stream in (False, True):
        headers = (await edge.chat(max_tokens=5, stream=stream)).headers
        assert headers["x-ratelimit-limit-requests"] == "60"
        assert headers["x-ratelimit-remaining-requests"] == "41"
        assert headers["x-ratelimit-reset-requests"] == "12.346s"
        assert headers["x-muhgpt-max-tokens"] == "5"
        assert headers["x-request-id"].startswith("req_")
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"


async def test_a_refusal_that_asked_quota_nothing_repeats_the_windows_last_word(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(window=RateWindow(60, 41, 50.0)))
    assert (await edge.chat(n=0)).headers["x-ratelimit-remaining-requests"] == "60"
    await edge.chat()
    refused = await edge.chat(n=0)
    assert refused.status_code == 400
    assert refused.headers["x-ratelimit-remaining-requests"] == "41"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FULL, openai.RateLimitError),
        (Refused(Reason.INSUFFICIENT_CREDITS), openai.APIStatusError),
        (Unavailable(Service.INFERENCE), openai.InternalServerError),
        (Unavailable(Service.QUOTA), openai.InternalServerError),
        (GenerationFailed(Reason.INVALID_REQUEST, "no"), openai.BadRequestError),
    ],
)
async def test_an_error_before_the_first_token_is_the_sdks_matching_class(
    start_edge: StartEdge, error: Failure, kind: type[openai.APIStatusError]
) -> None:
    edge, shown = await start_edge(ScriptedGateway(open_error=error)), to_api_error(error)
    async with sdk(edge) as client:
        for stream in (False, True):
            with pytest.raises(kind) as raised:
                await client.chat.completions.create(model="muh-chat", messages=HELLO, stream=stream)
            assert raised.value.status_code == shown.status
            assert raised.value.body == {
                "message": shown.message,
                "type": shown.type,
                "param": shown.param,
                "code": shown.code,
            }
            assert raised.value.response.headers["x-request-id"]


async def test_a_refusal_tells_the_window_and_when_to_come_back(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(open_error=FULL))
    answer = await edge.chat()
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"


async def test_wrong_keys_and_models_are_the_sdks_classes(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(allowed=frozenset({"muh-chat"})))
    async with sdk(edge, "mghp_wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="muh-chat", messages=HELLO)
    async with sdk(edge) as client:
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="gpt-9", messages=HELLO)
        with pytest.raises(openai.PermissionDeniedError) as forbidden:
            await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    assert forbidden.value.type == "model_not_allowed"


async def test_an_error_after_the_first_token_is_an_event_and_no_done(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(steps=[Batch([Delta(0, "Hel")]), KeyRevoked()]))
    answer = await edge.chat(stream=True)
    assert answer.status_code == 200
    last = answer.text.removesuffix("\n\n").split("\n\n")[-1]
    assert last.startswith('data: {"error":{"message":"This API key was revoked')
    assert '"code":"key_revoked"' in last
    assert "[DONE]" not in answer.text


async def test_an_error_midway_of_a_whole_answer_is_a_plain_error(start_edge: StartEdge) -> None:
    edge = await start_edge(
        ScriptedGateway(steps=[Batch([Delta(0, "Hel")]), GenerationFailed(Reason.ENGINE_UNAVAILABLE)])
    )
    answer = await edge.chat()
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "upstream_error")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_defect_shows_its_request_id_and_nothing_else(start_edge: StartEdge, stream: bool) -> None:
    edge = await start_edge(ScriptedGateway(steps=[Batch([Delta(0, "x")]), ValueError("canary-8842")]))
    answer = await edge.chat(stream=stream)
    assert "canary" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert answer.status_code == (200 if stream else 500)


async def test_a_silent_stream_is_kept_alive_by_comments_that_the_sdk_ignores(start_edge: StartEdge) -> None:
    async def think() -> None:
        await asyncio.sleep(0.7)

    steps = [Batch([Delta(0, "a")]), think, *text_answer("b")]
    edge = await start_edge(ScriptedGateway(steps=steps), limits=HotLimits(heartbeat=0.1))
    text = (await edge.chat(stream=True)).text
    assert text.count(": keep-alive\n\n") in range(2, 8)
    async with sdk(edge) as client:
        stream = await client.chat.completions.create(model="muh-chat", messages=HELLO, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "ab"


async def test_many_choices_arrive_whole(start_edge: StartEdge) -> None:
    steps = [
        Batch([Delta(0, "a"), Delta(1, "b", finish_reason="stop")]),
        Batch([Delta(0, "", finish_reason="stop")], Usage(1, 2)),
    ]
    edge = await start_edge(ScriptedGateway(steps=steps))
    async with sdk(edge) as client:
        answer = await client.chat.completions.create(model="muh-chat", messages=HELLO, n=2)
    assert [choice.message.content for choice in answer.choices] == ["a", "b"]
