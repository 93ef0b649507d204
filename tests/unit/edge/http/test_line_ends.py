"""Whatever an answer holds, each event and each document is one line to every reader."""

from __future__ import annotations

import json

import pytest

from services.edge.endpoints.chat import stream as sse
from services.edge.endpoints.chat.whole import Completion
from services.edge.http.errors import ApiError
from services.edge.serving.answer import Batch, Delta, TokenLogprob, ToolCallDelta, Usage

ENDS = "a\u2028b\u2029c\u0085d\x0b\x0c\x1c\x1d\x1ee\r\nf"
USAGE = Usage(1, 1)


def batch() -> Batch:
    token = TokenLogprob(ENDS, ENDS.encode(), -0.5, ())
    call = ToolCallDelta(0, "call_1", ENDS, ENDS)
    return Batch([Delta(0, ENDS, (), (token,)), Delta(0, "", (call,), (), "stop")], USAGE)


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\u0085"])
def test_a_line_end_in_an_answer_is_escaped_in_streams(end: str) -> None:
    encoder = sse.ChunkEncoder(
        completion_id="c", created=1, model=f"m{end}", choices=1, include_usage=True, logprobs=True
    )
    lines = encoder.encode(batch()).decode().splitlines()
    assert all(line.startswith("data: ") for line in lines if line)
    chunks = [json.loads(line[6:]) for line in lines if line and line != "data: [DONE]"]
    assert "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]) == ENDS
    assert chunks[0]["model"] == f"m{end}"


def test_a_line_end_in_an_answer_is_escaped_in_whole_answers_and_errors() -> None:
    completion = Completion(choices=1, logprobs=True)
    completion.add(batch())
    whole = completion.encode(completion_id="c", created=1, model="m")
    error = ApiError.invalid(ENDS, param=ENDS).body()
    for document in (whole, error, sse.encode_error(ApiError.invalid(ENDS)).rstrip(b"\n")):
        assert len(document.decode().splitlines()) == 1
    assert json.loads(whole)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == ENDS
