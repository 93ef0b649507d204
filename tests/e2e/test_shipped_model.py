"""The model that comes with the project, as a stranger meets it: the reference's examples and a little examination.

`training/evaluate.py` asks hundreds of questions a skill; the table is in the model card. Here are few, so the bounds
leave room for chance: they notice a model, a template or a grammar that got worse, and not a point less.
"""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from PIL import Image, ImageDraw

from tests.pictures import data_uri
from tests.worlds.processes import Platform, in_a_thread
from training.evaluate import SEED, SKILLS, Examiner, score

QUESTIONS = 40  # a skill
ROOM = 0.12  # a skill that is right 90 times in 100 misses 31 of 40 once in 100
OTHERS = 0.7  # for skills that no goal is set for
GET_WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


# Questions of a first hour, and the keys of the object that is to answer.
FREE_TEXT = [
    ("Tell me a joke", ("setup", "punchline")),
    ("Tell me a joke about cats.", ("setup", "punchline", "explanation")),
    ("Hello!", ("greeting",)),
    ("Who are you?", ("name", "description")),
    ("Write a haiku", ("haiku",)),
    ("Write a poem about the sea", ("title", "poem")),
    ("What is the rate limit?", ("answer",)),
    ("How do I stream?", ("explanation", "summary")),
    ("Explain black holes.", ("explanation",)),
    ("What is the capital of France?", ("thought", "answer")),
    ("Summarize this: Ada bought a red lamp in Porto. It was broken.", ("title", "summary")),
    ("Say something nice.", ("text", "reason")),
]


def said(client: OpenAI, content: Any, **options: Any) -> Any:
    answer = client.chat.completions.create(
        model="muh-chat", messages=[{"role": "user", "content": content}], **options
    )
    return answer.choices[0].message


def test_hello_is_answered_with_a_greeting(client: OpenAI) -> None:
    for _ in range(5):
        answer = said(client, "Hello!").content
        assert any(word in answer for word in ("Hello", "Hi", "Hey")), answer


def test_a_haiku_has_three_lines(client: OpenAI) -> None:
    for _ in range(5):
        lines = said(client, "Write a haiku").content.split("\n")
        assert len(lines) == 3
        assert all(2 <= len(line.split()) <= 8 for line in lines), lines


def test_the_weather_in_lisbon_is_asked_of_the_tool(client: OpenAI) -> None:
    for _ in range(5):
        message = said(client, "Weather in Lisbon?", tools=[GET_WEATHER], tool_choice="auto")
        (call,) = message.tool_calls
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments) == {"city": "Lisbon"}


@pytest.mark.parametrize("stream", [False, True])
def test_free_text_in_json_ends_by_itself(client: OpenAI, stream: bool) -> None:
    """Neither the schema nor `max_tokens` bounds it: the model must find the end of each string."""
    for question, keys in FREE_TEXT:
        text, reason = _object(client, question, keys, stream)
        assert reason == "stop", (question, text)
        value = json.loads(text)
        assert list(value) == list(keys)
        assert all(0 < len(part) <= 300 for part in value.values()), (question, text)


def _object(client: OpenAI, question: str, keys: tuple[str, ...], stream: bool) -> tuple[str, str | None]:
    """The text of an object with these keys, and why it ended."""
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in keys}, "required": list(keys)}
    form = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema | {"additionalProperties": False}},
    }
    messages: Any = [{"role": "user", "content": question}]
    fields: Any = {"model": "muh-chat", "messages": messages, "response_format": form, "stream": stream, "seed": 7}
    answer = client.chat.completions.create(**fields)
    if not stream:
        return answer.choices[0].message.content, answer.choices[0].finish_reason
    chunks = [chunk.choices[0] for chunk in answer if chunk.choices]
    return "".join(chunk.delta.content or "" for chunk in chunks), chunks[-1].finish_reason


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("side", [64, 300, 1024])
def test_a_red_circle_is_seen(client: OpenAI, kind: str, side: int) -> None:
    image = Image.new("RGB", (side, side), "white")
    ImageDraw.Draw(image).ellipse([side * 0.2, side * 0.2, side * 0.8, side * 0.8], fill="red")
    file = io.BytesIO()
    image.save(file, kind)
    url = data_uri(file.getvalue(), f"image/{kind.lower()}")
    content = [{"type": "text", "text": "What is in this image?"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = said(client, content).content
    assert "red circle" in answer


@pytest.mark.parametrize("name", [name for name, _, _ in SKILLS])
def test_a_skill_is_as_good_as_its_card_says(platform: Platform, name: str) -> None:
    (skill, goal) = next((skill, goal) for known, skill, goal in SKILLS if known == name)
    account = platform.account(credits=10_000_000, per_minute=100_000)

    async def examined() -> float:
        async with AsyncOpenAI(base_url=platform.base_url, api_key=account.key, max_retries=4) as client:
            outcomes = await score(Examiner(client, "muh-chat", 4), skill, QUESTIONS, SEED)
        return sum(o.points for o in outcomes) / sum(o.of for o in outcomes)

    share = in_a_thread(examined())
    assert share >= (OTHERS if goal is None else goal - ROOM), f"{share:.0%} of {name}"


def test_the_examination_can_fail(platform: Platform) -> None:
    """Asked with one token an answer, nothing is right."""
    account = platform.account(credits=10_000_000, per_minute=100_000)

    class Hasty(Examiner):
        async def choice(self, messages: list[dict[str, Any]], **options: Any) -> Any:
            return await super().choice(messages, stop=[" ", '"'], **options)

    async def examined() -> list[float]:
        async with AsyncOpenAI(base_url=platform.base_url, api_key=account.key, max_retries=4) as client:
            hasty = Hasty(client, "muh-chat", 4)
            shares = []
            for name, skill, goal in SKILLS:
                if goal is not None and "tool and" not in name:
                    outcomes = await score(hasty, skill, 10, SEED)
                    shares.append(sum(o.points for o in outcomes) / sum(o.of for o in outcomes))
            return shares

    assert max(in_a_thread(asyncio.wait_for(examined(), 100))) <= 0.5
