"""Whole answers as one object."""

from __future__ import annotations

import json

from services.edge.endpoints.chat.whole import Completion
from services.edge.serving.answer import Batch, Delta, TokenLogprob, ToolCallDelta, Usage


def test_the_object_is_openais() -> None:
    completion = Completion(choices=2, logprobs=False)
    completion.add(Batch([Delta(0, "Hel"), Delta(1, "Hi", finish_reason="stop")]))
    completion.add(Batch([Delta(0, "lo", finish_reason="length")], Usage(4, 3)))
    assert json.loads(completion.encode(completion_id="chatcmpl-1", created=5, model="gpt-4o")) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "gpt-4o",
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": reason,
            }
            for index, text, reason in ((0, "Hello", "length"), (1, "Hi", "stop"))
        ],
        "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7},
    }


def test_tool_calls_are_put_together() -> None:
    completion = Completion(choices=1, logprobs=False)
    first = (ToolCallDelta(0, "call_1", "f", '{"a"'), ToolCallDelta(1, "call_2", "g", "{}"))
    completion.add(Batch([Delta(0, "", tool_calls=first)]))
    completion.add(
        Batch([Delta(0, "", tool_calls=(ToolCallDelta(0, "", "", ":1}"),), finish_reason="tool_calls")], Usage(1, 1))
    )
    message = json.loads(completion.encode(completion_id="x", created=0, model="m"))["choices"][0]["message"]
    assert message["content"] is None
    assert [(call["id"], call["function"]) for call in message["tool_calls"]] == [
        ("call_1", {"name": "f", "arguments": '{"a":1}'}),
        ("call_2", {"name": "g", "arguments": "{}"}),
    ]


def test_logprobs_of_all_tokens_are_told_when_asked_for() -> None:
    completion = Completion(choices=1, logprobs=True)
    for text in "ab":
        completion.add(Batch([Delta(0, text, logprobs=(TokenLogprob(text, text.encode(), -1.0),))]))
    choice = json.loads(completion.encode(completion_id="x", created=0, model="m"))["choices"][0]
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["a", "b"]


def test_what_the_engine_says_of_its_tokens_is_in_the_usage_and_nothing_where_it_is_silent() -> None:
    for cached, reasoning in ((5, 2), (0, 0), (None, None)):
        completion = Completion(choices=1, logprobs=False)
        usage = Usage(7, 3, cached, reasoning)
        completion.add(Batch([Delta(0, "x", finish_reason="stop")], usage))
        told = json.loads(completion.encode(completion_id="c", created=1, model="m"))["usage"]
        expected = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        if cached is not None:
            expected |= {"prompt_tokens_details": {"cached_tokens": cached}}
            expected |= {"completion_tokens_details": {"reasoning_tokens": reasoning}}
        assert told == expected
