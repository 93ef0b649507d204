"""What a prompt counts before an upstream has it: by the server's own count, or by ours."""

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
from services.inference.domain.errors import ContextTooLong
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
async def test_a_count_that_cannot_be_had_is_made_here_as_an_estimate(count: Play, server: str) -> None:
    async with serving(count, server=server) as (_, engine):
        prepared = (await engine.prepare(ask("hello " * 500))).prepared
    assert prepared.prompt_tokens == 500 + 1 + 7
    assert prepared.max_tokens == 2048 - 508
    assert prepared.estimated


async def test_a_servers_count_is_exact_and_an_images_share_of_it_is_not() -> None:
    message = Message(Role.USER, ("Look!", Picture(b"jpeg", 64, 64)))
    fields = {"abilities": frozenset({"vision"}), "image_tokens": 900, "context_length": 10_000}
    async with serving(status(200, {"count": 20}), server="vllm", **fields) as (_, engine):
        assert not (await engine.prepare(ask())).prepared.estimated
        prepared = (await engine.prepare(ChatRequest("muh-chat", (message,)))).prepared
    assert (prepared.prompt_tokens, prepared.estimated) == (920, True)


@pytest.mark.parametrize(("size", "tokens"), [((64, 64), 255), ((1024, 1024), 765), ((4096, 2048), 1105)])
async def test_an_image_counts_by_openais_tiles_where_the_list_says_nothing(size: tuple[int, int], tokens: int) -> None:
    message = Message(Role.USER, ("hi there", Picture(b"jpeg", *size)))
    async with serving(stream(*HELLO), abilities=frozenset({"vision"}), tokenizer="o200k_base") as (_, engine):
        prepared = (await engine.prepare(ChatRequest("muh-chat", (message,)))).prepared
    assert (prepared.prompt_tokens, prepared.estimated) == (9 + tokens, True)


async def test_a_prompt_that_is_only_thought_to_be_too_long_is_left_to_the_upstream() -> None:
    async with serving(stream(*HELLO)) as (_, engine):
        prepared = (await engine.prepare(ask("hello " * 3000))).prepared
    assert (prepared.prompt_tokens, prepared.max_tokens) == (2047, 2048 // 8)
    async with serving(stream(*HELLO), tokenizer="o200k_base") as (_, engine):
        with pytest.raises(ContextTooLong):
            await engine.prepare(ask("hello " * 3000))
