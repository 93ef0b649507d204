"""Function calling: each tool_choice, streamed and not, and the way back with the tools' results."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sdk import ask, client, helpers, needs
from surroundings import HELLO, LISBON, NAMED_WEATHER, TIME, WEATHER

TOOLS = [WEATHER, TIME]


def called(stream: bool, **fields: Any) -> tuple[str | None, list[dict[str, str]], str]:
    """The answer's text, its calls and its finish reason, put together from the chunks when it is streamed."""
    with client() as sdk:
        answer = ask(sdk, messages=LISBON, tools=TOOLS, stream=stream, **fields)
        if stream:
            return _joined(list(answer))
    [choice] = answer.choices
    assert all(call.type == "function" for call in choice.message.tool_calls or [])
    calls = [
        {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
        for call in choice.message.tool_calls or []
    ]
    return choice.message.content, calls, choice.finish_reason


def _joined(chunks: list[Any]) -> tuple[str | None, list[dict[str, str]], str]:
    calls: list[dict[str, str]] = []
    for chunk in chunks:
        for piece in chunk.choices[0].delta.tool_calls or []:
            if piece.index == len(calls):  # the first piece of a call names it, and no other does
                assert piece.type == "function"
                calls.append({"id": piece.id, "name": piece.function.name, "arguments": ""})
            else:
                assert (piece.id, piece.type, piece.function.name) == (None, None, None)
            calls[piece.index]["arguments"] += piece.function.arguments or ""
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks) or None
    return text, calls, chunks[-1].choices[0].finish_reason


@pytest.mark.parametrize("stream", [False, True])
def test_required_makes_a_call_with_arguments_that_fit_the_schema(stream: bool) -> None:
    text, calls, reason = called(stream, tool_choice="required")
    assert (text, reason) == (None, "tool_calls")
    [call] = calls
    arguments = json.loads(call["arguments"])
    assert call["id"]
    assert isinstance(arguments["city"], str) if call["name"] == "get_weather" else call["name"] == "get_time"


@pytest.mark.parametrize("stream", [False, True])
def test_a_named_function_is_the_one_that_is_called(stream: bool) -> None:
    text, [call], reason = called(stream, tool_choice=NAMED_WEATHER)
    assert (text, call["name"], reason) == (None, "get_weather", "tool_calls")
    assert list(json.loads(call["arguments"])) == ["city"]


@pytest.mark.parametrize("stream", [False, True])
def test_none_calls_nothing(stream: bool) -> None:
    text, calls, reason = called(stream, tool_choice="none", max_tokens=40)
    assert text
    assert calls == []
    assert reason in ("stop", "length")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}])
def test_auto_calls_or_answers_and_says_which(stream: bool, choice: dict[str, str]) -> None:
    text, calls, reason = called(stream, max_tokens=200, **choice)
    if reason == "tool_calls":
        assert calls
        assert all(isinstance(json.loads(call["arguments"]), dict) for call in calls)
    else:
        assert text


@pytest.mark.parametrize("stream", [False, True])
def test_without_parallel_calls_there_is_at_most_one(stream: bool) -> None:
    _, calls, _ = called(stream, tool_choice="required", parallel_tool_calls=False)
    assert len(calls) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_cut_by_max_tokens_ends_with_length(stream: bool) -> None:
    _, _, reason = called(stream, tool_choice=NAMED_WEATHER, max_tokens=6)
    assert reason == "length"


def test_the_results_of_parallel_calls_go_back_with_the_sdks_own_message() -> None:
    with client() as sdk:
        first = ask(sdk, messages=LISBON, tools=TOOLS, tool_choice=NAMED_WEATHER)
        message = first.choices[0].message
        [call] = message.tool_calls
        turn = {
            "role": "assistant",
            "content": None,
            "tool_calls": [call.model_dump(), {**call.model_dump(), "id": "b"}],
        }
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "Sunny"}]},
        ]
        for said in (turn, message):
            back = results if said is turn else results[:1]
            answer = ask(sdk, messages=[*LISBON, said, *back], tools=TOOLS, max_tokens=40)
            assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")


@needs(1, 40, ".stream() and pydantic_function_tool()")
def test_the_stream_helper_parses_a_tools_arguments() -> None:
    import openai
    import pydantic

    class GetWeather(pydantic.BaseModel):
        """The weather of a city"""

        city: str = pydantic.Field(max_length=20)

    tool = openai.pydantic_function_tool(GetWeather, name="get_weather")
    with (
        client() as sdk,
        helpers(sdk, "stream").stream(
            model="muh-chat", messages=HELLO, tools=[tool], tool_choice=NAMED_WEATHER, max_tokens=100
        ) as stream,
    ):
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in events
    assert "tool_calls.function.arguments.done" in events
    [call] = final.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, GetWeather)
