"""Structured output: the two JSON forms, and the SDK's helpers that parse answers into pydantic models."""

from __future__ import annotations

import enum
import json
from typing import Any

import pydantic
import pytest
from sdk import ask, client, helpers, needs
from surroundings import HELLO, LISBON, NAMED_WEATHER

SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"type": "string", "enum": ["good", "bad"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["mood", "score"],
    "additionalProperties": False,
}


class Mood(enum.Enum):
    """Becomes an enum in $defs."""

    GOOD = "good"
    BAD = "bad"


class Step(pydantic.BaseModel):
    """A nested object."""

    number: int = pydantic.Field(ge=0, le=99)
    done: bool


class Report(pydantic.BaseModel):
    """Nested, with $defs and an optional field."""

    mood: Mood
    steps: list[Step] = pydantic.Field(max_length=3)
    note: bool | None


def text_of(answer: Any, stream: bool) -> tuple[str, str]:
    """Content and finish reason of an answer, or of its chunks."""
    if not stream:
        return answer.choices[0].message.content, answer.choices[0].finish_reason
    chunks = list(answer)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    return text, chunks[-1].choices[0].finish_reason


@pytest.mark.parametrize("stream", [False, True])
def test_json_object_gives_an_object(stream: bool) -> None:
    form = {"type": "json_object"}
    with client() as sdk:
        text, reason = text_of(ask(sdk, response_format=form, max_tokens=400, stream=stream), stream)
    assert text.startswith("{")
    if reason == "stop":  # the shipped model does not always find the end of an object without a schema
        assert isinstance(json.loads(text), dict)
    else:
        assert reason == "length"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("strict", [None, False, True])
def test_json_schema_gives_what_the_schema_says(stream: bool, strict: bool | None) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "report", "schema": SCHEMA, "strict": strict}}
    with client() as sdk:
        text, reason = text_of(ask(sdk, response_format=form, stream=stream), stream)
    value = json.loads(text)
    assert reason == "stop"
    assert set(value) == {"mood", "score"}
    assert value["mood"] in ("good", "bad")
    assert value["score"] in range(10)


@needs(1, 40, ".parse()")
def test_parse_gives_a_pydantic_model() -> None:
    with client() as sdk:
        answer = helpers(sdk, "parse").parse(model="muh-chat", messages=HELLO, response_format=Report)
    message = answer.choices[0].message
    assert isinstance(message.parsed, Report)
    assert message.refusal is None
    assert Report.model_validate_json(message.content) == message.parsed


@needs(1, 40, ".parse()")
def test_parse_of_an_answer_cut_short_raises_the_sdks_error() -> None:
    import openai

    with client() as sdk, pytest.raises(openai.LengthFinishReasonError):
        helpers(sdk, "parse").parse(model="muh-chat", messages=HELLO, response_format=Report, max_tokens=2)


@needs(1, 40, ".parse()")
def test_parse_gives_a_tools_arguments_as_a_pydantic_model() -> None:
    import openai

    class GetWeather(pydantic.BaseModel):
        """The weather of a city"""

        city: str = pydantic.Field(max_length=20)

    with client() as sdk:
        answer = helpers(sdk, "parse").parse(
            model="muh-chat",
            messages=LISBON,
            tools=[openai.pydantic_function_tool(GetWeather, name="get_weather")],
            tool_choice=NAMED_WEATHER,
        )
    [call] = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, GetWeather)


@needs(1, 40, ".stream()")
def test_the_stream_helper_parses_the_whole_answer() -> None:
    fields = {"model": "muh-chat", "messages": HELLO, "response_format": Report}
    with client() as sdk, helpers(sdk, "stream").stream(**fields) as stream:
        done = [event for event in stream if event.type == "content.done"]
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Report)
    assert [event.parsed for event in done] == [final.choices[0].message.parsed]
