"""What a prompt counts before an upstream has it: by the server's own count, or an upper bound."""

from __future__ import annotations

from typing import Any

import pytest

from services.inference.domain.chat import (
    ChatRequest,
    Message,
    Picture,
    Role,
    Tool,
)
from tests.integration.inference.upstream_client import HELLO, ask, run, serving
from tests.upstreams import (
    Play,
    status,
    stream,
)


async def test_vllm_counts_the_prompt_before_and_tells_a_running_count() -> None:
    async def play(asked: Any, writer: Any) -> None:
        is_count = asked.path == "/tokenize"
        await (status(200, {"count": 123, "max_model_len": 2048, "tokens": []}) if is_count else stream(*HELLO))(
            asked, writer
        )

    request = ChatRequest("muh-chat", ask().messages, tools=(Tool("look"),))
    async with serving(play, server="vllm") as (server, engine):
        prompt = await engine.prepare(request)
        assert (prompt.prepared.prompt_tokens, prompt.prepared.max_tokens) == (123, 2048 - 123)
        await run(engine, request)
    assert server.requests[0].body == {
        "model": "served-name",
        "messages": [{"role": "user", "content": "Hello!"}],
        "tools": [{"type": "function", "function": {"name": "look"}}],
        "add_generation_prompt": True,
    }
    options = server.requests[-1].body["stream_options"]
    assert options == {"include_usage": True, "continuous_usage_stats": True}


@pytest.mark.parametrize("count", [status(404), status(200, b"nonsense"), status(200, {}), status(500)])
@pytest.mark.parametrize("server", ["vllm", "llama.cpp"])
async def test_a_count_that_cannot_be_had_becomes_an_upper_bound(count: Play, server: str) -> None:
    async with serving(count, server=server) as (_, engine):
        prepared = (await engine.prepare(ask("x" * 500))).prepared
    assert 500 < prepared.prompt_tokens < 1000
    assert prepared.max_tokens == 2048 - 500 // 4
    assert prepared.estimated


async def test_an_image_is_bounded_by_what_the_list_says() -> None:
    message = Message(Role.USER, ("Look!", Picture(b"jpeg", 64, 64)))
    fields = {"abilities": frozenset({"vision"}), "image_tokens": 900, "context_length": 10_000}
    async with serving(stream(*HELLO), **fields) as (_, engine):
        prepared = (await engine.prepare(ChatRequest("muh-chat", (message,)))).prepared
    assert 900 < prepared.prompt_tokens < 1300
