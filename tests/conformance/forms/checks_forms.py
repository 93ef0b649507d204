"""200 forced tool calls and 200 json_schema answers, half of each streamed, sampled at random: every one is valid.

The shipped model knows nothing of schemas, so whatever is right here is the grammar's doing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openai import OpenAI
from schemas import SCHEMAS
from surroundings import BASE_URL, HELLO, KEY

TIMES = 200
AT_ONCE = 4


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    return record_property


@pytest.fixture(scope="module")
def sdk() -> Any:
    with OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=120) as client:
        yield client


def test_forced_tool_calls_are_valid(sdk: OpenAI, note: Callable[[str, object], None]) -> None:
    _all_valid(lambda number: _called(sdk, number), "forced tool calls", note)


def test_json_schema_answers_are_valid(sdk: OpenAI, note: Callable[[str, object], None]) -> None:
    _all_valid(lambda number: _answered(sdk, number), "json_schema answers", note)


def _all_valid(one: Callable[[int], str], what: str, note: Callable[[str, object], None]) -> None:
    """`one` returns what was wrong with the answer of this number, or nothing."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [problem for problem in pool.map(one, range(TIMES)) if problem]
    note(f"valid {what}", f"{TIMES - len(wrong)} of {TIMES}, {TIMES // 2} streamed")
    assert not wrong, "\n".join(wrong)


def _called(sdk: OpenAI, number: int) -> str:
    name, schema = SCHEMAS[number // 2 % len(SCHEMAS)]
    tools = [
        {"type": "function", "function": {"name": name, "parameters": schema, "strict": number % 4 < 2}},
        {"type": "function", "function": {"name": "another", "parameters": {"type": "object", "properties": {}}}},
    ]
    fields = {"tools": tools, "tool_choice": {"type": "function", "function": {"name": name}}}
    if number % 2:
        with sdk.chat.completions.stream(**_request(fields)) as stream:
            choice = stream.get_final_completion().choices[0]
    else:
        choice = sdk.chat.completions.create(**_request(fields)).choices[0]
    calls = choice.message.tool_calls or []
    if choice.finish_reason != "tool_calls" or [call.function.name for call in calls] != [name]:
        return f"{name}: {choice.finish_reason}, calls {calls}, text {choice.message.content!r}"
    return _problem(name, schema, calls[0].function.arguments)


def _answered(sdk: OpenAI, number: int) -> str:
    name, schema = SCHEMAS[number // 2 % len(SCHEMAS)]
    form = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": number % 4 < 2}}
    answer = sdk.chat.completions.create(**_request({"response_format": form}), stream=bool(number % 2))
    if number % 2:
        chunks = list(answer)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
    return _problem(name, schema, text) if reason == "stop" else f"{name}: {reason} after {text!r}"


def _request(fields: dict[str, Any]) -> dict[str, Any]:
    """A random temperature and no seed."""
    return {"model": "muh-chat", "messages": HELLO, "temperature": random.uniform(0, 2), **fields}


def _problem(name: str, schema: dict[str, Any], text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"{name}: {error} in {text!r}"
    found = next(Draft202012Validator(schema).iter_errors(value), None)
    return f"{name}: {found.message} in {text!r}" if found else ""
