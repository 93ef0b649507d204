"""A whole answer as one chat.completion object (docs/wire.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from services.edge.endpoints.chat.logprobs import logprobs_of
from services.edge.endpoints.chat.stream import encode_usage
from services.edge.http import wire_json
from services.edge.serving.answer import Batch, Delta, TokenLogprob, ToolCallDelta, Usage


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Choice:
    text: list[str] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str = "stop"


class Completion:
    """Collects the deltas of one answer (a Sink, serving/answer.py). `usage` is None until its last batch."""

    ready = True

    def __init__(self, *, choices: int, logprobs: bool) -> None:
        self.usage: Usage | None = None
        self._choices = [_Choice() for _ in range(choices)]
        self._logprobs = logprobs

    def when_ready(self, look: Callable[[], None]) -> None:
        """See Sink. It always is."""

    def write(self, deltas: list[Delta]) -> None:
        """See Sink."""
        for delta in deltas:
            self._add_delta(delta)

    def add(self, batch: Batch) -> None:
        """Takes up a whole batch."""
        self.write(batch.deltas)
        if batch.usage is not None:
            self.usage = batch.usage

    def encode(self, *, completion_id: str, created: int, model: str) -> bytes:
        """The JSON document; created is in Unix seconds."""
        usage = self.usage or Usage(0, 0)
        document = {
            "id": completion_id,
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": [self._encode_choice(index, choice) for index, choice in enumerate(self._choices)],
            "usage": orjson.Fragment(encode_usage(usage)),
        }
        return wire_json.encode(document)

    def _add_delta(self, delta: Delta) -> None:
        choice = self._choices[delta.choice]
        choice.text.append(delta.text)
        for piece in delta.tool_calls:
            _add_call(choice.calls.setdefault(piece.index, _Call()), piece)
        if self._logprobs:
            choice.logprobs.extend(delta.logprobs)
        if delta.finish_reason is not None:
            choice.finish_reason = delta.finish_reason

    def _encode_choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if choice.calls:
            message["content"] = text or None
            message["tool_calls"] = [_encode_call(call) for _, call in sorted(choice.calls.items())]
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs_of(choice.logprobs) if self._logprobs else None,
            "finish_reason": choice.finish_reason,
        }


def _add_call(call: _Call, piece: ToolCallDelta) -> None:
    call.id = call.id or piece.id
    call.name = call.name or piece.name
    call.arguments.append(piece.arguments)


def _encode_call(call: _Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(call.arguments)}}
