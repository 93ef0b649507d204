"""pydantic-ai's agents: text, structured output in each of its ways, tools, streams, usage, errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, ToolOutput
from pydantic_ai.messages import ToolCallPart, ToolReturnPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from surroundings import BASE_URL, KEY, KEY_WITHOUT_CREDITS, WRONG_KEY

pytestmark = pytest.mark.anyio


class Step(BaseModel):
    """A nested object."""

    number: int = Field(ge=0, le=99)
    done: bool


class Report(BaseModel):
    """A report; Step goes into $defs."""

    mood: Literal["good", "bad"]
    steps: list[Step] = Field(max_length=3)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def model(key: str = KEY) -> AsyncIterator[OpenAIChatModel]:
    """Closed in the loop that it was used in: a connection that outlives its loop breaks a later check."""
    async with AsyncOpenAI(base_url=BASE_URL, api_key=key, max_retries=0) as client:
        yield OpenAIChatModel("muh-chat", provider=OpenAIProvider(openai_client=client))


async def test_an_agent_answers_in_text_with_its_usage() -> None:
    async with model() as chat:
        result = await Agent(chat, instructions="Be brief.").run("Hello!", model_settings={"max_tokens": 60})
    assert result.output
    usage = result.usage
    assert usage.requests == 1
    assert usage.input_tokens >= 1
    assert usage.output_tokens >= 1


async def test_an_agent_streams_text_with_its_usage() -> None:
    async with model() as chat, Agent(chat).run_stream("Write a haiku") as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
        usage = result.usage
    assert len(pieces) > 1
    assert "".join(pieces).strip()
    assert usage.output_tokens >= len(pieces)


@pytest.mark.parametrize("way", [NativeOutput, ToolOutput])
async def test_structured_output_fits_its_model(way: type) -> None:
    async with model() as chat:
        result = await Agent(chat, output_type=way(Report)).run("Hello!")
    assert isinstance(result.output, Report)


@pytest.mark.parametrize("way", [NativeOutput, ToolOutput])
async def test_structured_output_is_streamed(way: type) -> None:
    async with model() as chat, Agent(chat, output_type=way(Report)).run_stream("Hello!") as result:
        partial = [output async for output in result.stream_output(debounce_by=None)]
    assert isinstance(partial[-1], Report)


async def test_a_tool_is_called_and_its_result_goes_back() -> None:
    asked: list[str] = []

    def get_weather(city: str) -> dict[str, str]:
        """The weather of a city"""
        asked.append(city)
        return {"weather": "sunny", "temperature": "21"}

    # The one thing that the shipped model does know: to call a tool with one text argument.
    async with model() as chat:
        agent = Agent(chat, tools=[get_weather], model_settings={"temperature": 0, "max_tokens": 100})
        result = await agent.run("What is the weather in Lisbon?")
    parts = [part for message in result.all_messages() for part in message.parts]
    calls = [part for part in parts if isinstance(part, ToolCallPart)]
    returned = [part for part in parts if isinstance(part, ToolReturnPart)]
    assert asked
    assert result.output
    assert [call.tool_call_id for call in calls] == [part.tool_call_id for part in returned]


@pytest.mark.parametrize(("key", "status"), [(WRONG_KEY, 401), (KEY_WITHOUT_CREDITS, 402)], ids=["401", "402"])
async def test_an_error_keeps_its_status_and_body(key: str, status: int) -> None:
    async with model(key) as chat:
        with pytest.raises(ModelHTTPError) as raised:
            await Agent(chat).run("Hello!")
    assert raised.value.status_code == status
    assert isinstance(raised.value.body, dict)
    assert set(raised.value.body) == {"message", "type", "param", "code"}
