"""Streams to the byte: which chunks, in which order, carrying what (docs/wire.md)."""

from __future__ import annotations

import json
from typing import Any

from services.edge.endpoints.chat.stream import ChunkEncoder, encode_error
from services.edge.http.errors import ApiError
from services.edge.serving.answer import Batch, Delta, TokenLogprob, ToolCallDelta, Usage


def encoder(*, choices: int = 1, include_usage: bool = False, logprobs: bool = False) -> ChunkEncoder:
    return ChunkEncoder(
        completion_id="chatcmpl-1",
        created=1700000000,
        model="muh-chat",
        choices=choices,
        include_usage=include_usage,
        logprobs=logprobs,
    )


def events(data: bytes) -> list[Any]:
    assert data.endswith(b"\n\n")
    lines = data.decode().removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def whole(stream: ChunkEncoder, *batches: Batch) -> list[Any]:
    return events(b"".join(stream.encode(batch) for batch in batches))


def test_a_plain_stream_to_the_byte() -> None:
    stream = encoder()
    head = (
        'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"muh-chat","choices":['
    )
    assert stream.encode(Batch([Delta(0, 'Hi "ü"\n')])).decode() == (
        head + '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n\n'
        + head + '{"index":0,"delta":{"content":"Hi \\"ü\\"\\n"},"logprobs":null,"finish_reason":null}]}\n\n'
    )  # fmt: skip
    assert stream.encode(Batch([Delta(0, "", finish_reason="stop")])) == b""
    assert stream.encode(Batch([], Usage(3, 2))).decode() == (
        head + '{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],'
        '"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\ndata: [DONE]\n\n'
    )


def test_every_chunk_has_a_choice_and_the_last_has_usage() -> None:
    chunks = whole(encoder(), Batch([Delta(0, "a")]), Batch([Delta(0, "b", finish_reason="length")], Usage(1, 2)))
    assert chunks.pop() == "[DONE]"
    assert all(chunk["choices"] for chunk in chunks)
    assert ["usage" in chunk for chunk in chunks] == [False, False, False, True]
    assert chunks[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}


def test_with_include_usage_openais_form_applies() -> None:
    chunks = whole(
        encoder(include_usage=True), Batch([Delta(0, "a")]), Batch([Delta(0, "", finish_reason="stop")], Usage(1, 1))
    )
    assert chunks.pop() == "[DONE]"
    *others, last = chunks
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    assert all(chunk["usage"] is None for chunk in others)
    assert others[-1]["choices"][0]["finish_reason"] == "stop"


def test_each_choice_finishes_once_and_only_the_last_to_finish_carries_usage() -> None:
    chunks = whole(
        encoder(choices=3),
        Batch([Delta(1, "b"), Delta(0, "a"), Delta(1, "", finish_reason="stop")]),
        Batch([Delta(2, "c", finish_reason="length"), Delta(0, "", finish_reason="stop")], Usage(5, 3)),
    )
    chunks.pop()
    ends = [(c["choices"][0]["index"], "usage" in c) for c in chunks if c["choices"][0]["finish_reason"]]
    assert ends == [(1, False), (2, False), (0, True)]
    begins = [c["choices"][0]["index"] for c in chunks if "role" in c["choices"][0]["delta"]]
    assert sorted(begins) == [0, 1, 2]


def test_what_piled_up_goes_out_in_one_chunk() -> None:
    chunks = events(encoder().encode(Batch([Delta(0, "a"), Delta(0, "b"), Delta(0, "c")])))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", "abc"]


def test_text_of_different_choices_is_not_mixed_up() -> None:
    deltas = [Delta(0, "a"), Delta(1, "x"), Delta(0, "b"), Delta(1, "y")]
    chunks = events(encoder(choices=2).encode(Batch(deltas)))
    text = {0: "", 1: ""}
    for chunk in chunks:
        text[chunk["choices"][0]["index"]] += chunk["choices"][0]["delta"]["content"]
    assert text == {0: "ab", 1: "xy"}


def test_a_tool_call_names_itself_in_its_first_chunk_only() -> None:
    first = Delta(0, "", tool_calls=(ToolCallDelta(0, "call_1", "f", ""),))
    rest = Delta(0, "", tool_calls=(ToolCallDelta(0, "", "", '{"a":'), ToolCallDelta(0, "", "", "1}")))
    second = Delta(0, "", tool_calls=(ToolCallDelta(1, "call_2", "g", "{}"),), finish_reason="tool_calls")
    chunks = whole(encoder(), Batch([first, rest]), Batch([second], Usage(1, 9)))
    calls = [c["choices"][0]["delta"]["tool_calls"][0] for c in chunks[:-1] if "tool_calls" in c["choices"][0]["delta"]]
    assert calls == [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a":'}},
        {"index": 0, "function": {"arguments": "1}"}},
        {"index": 1, "id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_logprobs_ride_on_their_text_when_asked_for() -> None:
    token = TokenLogprob("a", b"a", -0.5, (TokenLogprob("b", b"b", float("-inf")),))
    delta = Delta(0, "a", logprobs=(token,))
    chunk = events(encoder(logprobs=True).encode(Batch([delta])))[1]
    assert chunk["choices"][0]["logprobs"]["content"] == [
        {
            "token": "a",
            "logprob": -0.5,
            "bytes": [97],
            "top_logprobs": [{"token": "b", "logprob": -9999.0, "bytes": [98]}],
        }
    ]
    assert events(encoder().encode(Batch([delta])))[1]["choices"][0]["logprobs"] is None


def test_an_error_is_one_event_without_done() -> None:
    data = encode_error(ApiError.key_revoked())
    [event] = events(data)
    assert event["error"]["code"] == "key_revoked"
    assert set(event["error"]) == {"message", "type", "param", "code"}


def test_a_streams_usage_tells_cached_and_reasoning_tokens_too() -> None:
    chunks = whole(encoder(), Batch([Delta(0, "a", finish_reason="stop")], Usage(7, 3, 5, 0)))
    assert chunks[-2]["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
