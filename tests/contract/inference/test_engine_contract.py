"""What every engine promises (services/inference/domain/engine.py), asked of each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from services.inference.domain.chat import ChatRequest, Image, Message, Role, Sampling
from services.inference.domain.engine import Delta, Engine, FinishReason, Prompt, Usage
from services.inference.domain.errors import ImageNotSupported, InvalidRequest
from tests.engine_steps import steps_of
from tests.fakes_engine import ScriptedEngine, start_llama, start_upstream


@pytest.fixture(params=["scripted", "llama", "upstream", "bare upstream"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    if request.param == "scripted":
        yield ScriptedEngine("one", " two", " three", " four", " five", " six")
        return
    async with start_llama() as llama:
        if request.param == "llama":
            yield llama
            return
        # llama.cpp's own HTTP server, known as what it is, or only as something that speaks OpenAI's API.
        server = "llama.cpp" if request.param == "upstream" else "openai"
        worker = llama.supervisor.client()
        async with start_upstream(worker.address, worker.key, server=server) as upstream:
            yield upstream


def ask(text: str = "Tell me a story.", **sampling: object) -> ChatRequest:
    return ChatRequest("muh-chat", (Message(Role.USER, (text,)),), sampling=Sampling(**sampling))  # type: ignore[arg-type]


async def run(prompt: Prompt, max_tokens: int) -> tuple[list[Delta], Usage]:
    deltas: list[Delta] = []
    async with aclosing(steps_of(prompt, max_tokens)) as steps:
        async for step in steps:
            if isinstance(step, Usage):
                return deltas, step
            deltas += step
    raise AssertionError("no usage at the end")


async def test_the_prompt_count_told_before_is_the_engines_own_at_the_end_or_an_estimate_that_says_so(
    engine: Engine,
) -> None:
    prompt = await engine.prepare(ask())
    _, usage = await run(prompt, 4)
    assert 1 <= usage.prompt_tokens <= 2 * prompt.prepared.prompt_tokens
    assert usage.prompt_tokens == prompt.prepared.prompt_tokens or prompt.prepared.estimated


async def test_the_deltas_tokens_sum_to_the_engines_own_count(engine: Engine) -> None:
    deltas, usage = await run(await engine.prepare(ask()), 50)
    assert sum(delta.tokens for delta in deltas) == usage.output_tokens >= 1


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_max_tokens_is_exact(engine: Engine, limit: int) -> None:
    deltas, usage = await run(await engine.prepare(ask()), limit)
    assert usage.output_tokens == limit
    assert deltas[-1].finish_reason is FinishReason.LENGTH


async def test_each_choice_has_exactly_one_finish_reason_on_its_last_delta(engine: Engine) -> None:
    deltas, usage = await run(await engine.prepare(ask(choices=3, seed=7)), 4)
    for choice in range(3):
        reasons = [delta.finish_reason for delta in deltas if delta.choice == choice]
        assert reasons[-1] is not None
        assert reasons[:-1] == [None] * (len(reasons) - 1)
    assert usage.output_tokens == sum(delta.tokens for delta in deltas) <= 12


async def test_closing_early_frees_the_engine_for_the_next(engine: Engine) -> None:
    for _ in range(engine.slots + 1):
        prompt = await engine.prepare(ask())
        async with aclosing(steps_of(prompt, 500)) as steps:
            async for _ in steps:
                break
    deltas, _ = await run(await engine.prepare(ask()), 3)
    assert deltas


async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="2048 tokens"):
        await run(await engine.prepare(ask("word " * 2100)), 1)


async def test_an_image_is_refused_by_a_model_without_vision(engine: Engine) -> None:
    message = Message(Role.USER, ("What is it?", Image(data=b"png")))
    with pytest.raises(ImageNotSupported):
        await engine.prepare(ChatRequest("muh-chat", (message,)))


async def test_log_probabilities_come_for_each_token(engine: Engine) -> None:
    deltas, _ = await run(await engine.prepare(ask(logprobs=True)), 3)
    told = [logprob for delta in deltas for logprob in delta.logprobs]
    assert len(told) == 3
    assert all(logprob.logprob <= 0 and logprob.token.encode() == logprob.utf8 for logprob in told)
