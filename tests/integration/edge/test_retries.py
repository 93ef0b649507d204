"""The official SDK sends again what may go better the next time, and nothing else (docs/wire.md, errors)."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from services.edge.endpoints.endpoint import HotLimits
from services.edge.http.errors import ApiError
from tests.worlds.in_process.http_edge import StartEdge
from tests.worlds.in_process.scripted_gateway import KEY, ScriptedGateway

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
RETRIES = 2


class HastySdk(openai.AsyncOpenAI):
    """The SDK without its pauses; it decides as ever whether to send again, and remembers how long it would wait."""

    def __init__(self, url: str, key: str = KEY) -> None:
        super().__init__(base_url=f"{url}/v1", api_key=key, max_retries=RETRIES)
        self.pauses: list[float] = []

    def _calculate_retry_timeout(self, *arguments: Any, **named: Any) -> float:
        self.pauses.append(super()._calculate_retry_timeout(*arguments, **named))
        return 0.0


@pytest.mark.parametrize(
    "error",
    [
        ApiError.rate_limited(1.5),
        ApiError.too_many_streams(64),
        ApiError.upstream_error(),
        ApiError.service_unavailable(),
        ApiError.overloaded(),
        ApiError.deadline_exceeded(),
        ApiError.internal("req_1"),
    ],
    ids=lambda error: f"{error.status} {error.code}",
)
async def test_what_may_go_better_is_sent_again(start_edge: StartEdge, error: ApiError) -> None:
    edge = await start_edge(ScriptedGateway(open_error=error))
    async with HastySdk(edge.url) as client:
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.create(model="muh-chat", messages=HELLO)
    assert raised.value.status_code == error.status
    assert len(edge.gateway.opened) == 1 + RETRIES


@pytest.mark.parametrize(
    "error",
    [
        ApiError.invalid("no"),
        ApiError.invalid("no", code="context_length_exceeded"),
        ApiError.invalid_api_key(),
        ApiError.key_revoked(),
        ApiError.insufficient_credits(),
        ApiError.key_limit_reached(),
        ApiError.model_not_allowed("muh-chat"),
        ApiError.model_not_found("muh-chat"),
    ],
    ids=lambda error: f"{error.status} {error.code}",
)
async def test_what_will_go_as_before_is_not_sent_again(start_edge: StartEdge, error: ApiError) -> None:
    edge = await start_edge(ScriptedGateway(open_error=error))
    async with HastySdk(edge.url) as client:
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.create(model="muh-chat", messages=HELLO)
    assert raised.value.status_code == error.status
    assert len(edge.gateway.opened) == 1
    assert client.pauses == []


async def test_what_http_itself_refuses_is_not_sent_again(start_edge: StartEdge) -> None:
    edge = await start_edge(limits=HotLimits(max_body_bytes=500))
    async with HastySdk(edge.url) as client:
        long: list[Any] = [{"role": "user", "content": "x" * 1000}]
        for messages, headers, status in (
            (HELLO, {"content-type": "text/plain"}, 415),
            (long, {}, 413),
            (HELLO, {"x-filler": "x" * 100_000}, 431),
        ):
            with pytest.raises(openai.APIStatusError) as raised:
                await client.chat.completions.create(model="muh-chat", messages=messages, extra_headers=headers)
            assert raised.value.status_code == status
        with pytest.raises(openai.APIStatusError) as raised:
            await client.get("/chat/completions", cast_to=object)
        assert raised.value.status_code == 405
    assert client.pauses == []
    assert edge.gateway.opened == []


@pytest.mark.parametrize(
    ("error", "pause"),
    [(ApiError.rate_limited(1.5), 1.5), (ApiError.rate_limited(59.9), 59.9), (ApiError.too_many_streams(1), 1.0)],
)
async def test_the_sdk_waits_as_long_as_it_is_told(start_edge: StartEdge, error: ApiError, pause: float) -> None:
    edge = await start_edge(ScriptedGateway(open_error=error))
    async with HastySdk(edge.url) as client:
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="muh-chat", messages=HELLO)
    assert client.pauses == [pause] * RETRIES
