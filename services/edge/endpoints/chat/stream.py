"""A streamed answer as bytes: chat.completion.chunk events (docs/wire.md), hand-built around encoded text.

What is the same in every chunk of a request is encoded once (ARCHITECTURE.md, speed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.edge.endpoints.chat.logprobs import logprobs_of
from services.edge.http import wire_json
from services.edge.http.errors import ApiError
from services.edge.http.writer import Writer
from services.edge.serving.answer import Batch, Delta, TokenLogprob, Usage

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


class ChunkEncoder:
    """Turns the batches of one answer into events.

    The last choice's finish chunk waits for the usage that it carries, so that a client that has seen the end has also
    paid for it. With include_usage OpenAI's form applies: `usage: null` on all chunks, then one without choices.
    """

    def __init__(
        self, *, completion_id: str, created: int, model: str, choices: int, include_usage: bool, logprobs: bool
    ) -> None:
        head = {"id": completion_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = b"data: " + wire_json.encode(head)[:-1] + b',"choices":['
        self._start = self._head + b'{"index":'
        self._usage_null = b',"usage":null' if include_usage else b""
        self._end = b"]" + self._usage_null + b"}\n\n"
        self._plain = b'},"logprobs":null,"finish_reason":null}' + self._end
        self._include_usage = include_usage
        self._logprobs = logprobs
        self._open = set(range(choices))
        self._begun: set[int] = set()
        self._held: bytes | None = None

    def encode(self, batch: Batch) -> bytes:
        """The events of one batch, ready to be sent in one write; empty when there is nothing to show yet."""
        parts: list[bytes] = []
        for delta in _merged(batch.deltas):
            self._encode_delta(delta, parts)
        if batch.usage is not None:
            self._encode_end(batch.usage, parts)
        return b"".join(parts)

    def encode_deltas(self, deltas: list[Delta]) -> bytes:
        """The same of deltas that are followed by others."""
        parts: list[bytes] = []
        for delta in _merged(deltas):
            self._encode_delta(delta, parts)
        return b"".join(parts)

    def _encode_delta(self, delta: Delta, parts: list[bytes]) -> None:
        choice = delta.choice
        if choice not in self._begun:
            self._begun.add(choice)
            parts.append(self._start + b'%d,"delta":{"role":"assistant","content":""' % choice + self._plain)
        if delta.text or delta.logprobs:
            content = b'%d,"delta":{"content":' % choice + wire_json.encode(delta.text)
            parts.append(self._start + content + self._tail(delta.logprobs))
        for call in delta.tool_calls:
            piece: dict[str, object] = {"index": call.index}
            function: dict[str, str] = {"arguments": call.arguments}
            if call.id:
                piece |= {"id": call.id, "type": "function"}
                function = {"name": call.name, "arguments": call.arguments}
            piece["function"] = function
            parts.append(
                self._start + b'%d,"delta":{"tool_calls":[' % choice + wire_json.encode(piece) + b"]" + self._plain
            )
        if delta.finish_reason is not None:
            self._encode_finish(choice, delta.finish_reason, parts)

    def _encode_finish(self, choice: int, reason: str, parts: list[bytes]) -> None:
        self._open.discard(choice)
        chunk = (
            self._start + b'%d,"delta":{},"logprobs":null,"finish_reason":' % choice + wire_json.encode(reason) + b"}]"
        )
        if self._open:
            parts.append(chunk + self._usage_null + b"}\n\n")
        else:
            self._held = chunk

    def _encode_end(self, usage: Usage, parts: list[bytes]) -> None:
        for choice in sorted(self._open):  # an answer that ended without a word about this choice
            self._encode_delta(Delta(choice, "", finish_reason="stop"), parts)
        encoded = b',"usage":' + encode_usage(usage)
        if self._held is not None:
            parts.append(self._held + (self._usage_null or encoded) + b"}\n\n")
        if self._include_usage:
            parts.append(self._head + b"]" + encoded + b"}\n\n")
        parts.append(DONE)

    def _tail(self, logprobs: tuple[TokenLogprob, ...]) -> bytes:
        if not self._logprobs or not logprobs:
            return self._plain
        return b'},"logprobs":' + wire_json.encode(logprobs_of(logprobs)) + b',"finish_reason":null}' + self._end


class ChunkSink:
    """Encodes the deltas of an answer and writes them at once (a Sink, serving/answer.py)."""

    def __init__(self, encoder: ChunkEncoder, writer: Writer) -> None:
        self._encoder = encoder
        self._writer = writer

    @property
    def ready(self) -> bool:
        """See Sink."""
        return self._writer.ready

    def when_ready(self, look: Callable[[], None]) -> None:
        """See Sink."""
        self._writer.when_ready(look)

    def write(self, deltas: list[Delta]) -> None:
        """See Sink."""
        data = self._encoder.encode_deltas(deltas)
        if data:
            self._writer.write(data)

    def encode_end(self, last: Batch) -> bytes:
        """See StreamSink (answer_route.py)."""
        return self._encoder.encode(last)


def encode_usage(usage: Usage) -> bytes:
    """The usage object, as the reference and OpenAI have it; details only where the engine gave them."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    counts = b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d' % (prompt, completion, prompt + completion)
    if usage.cached_tokens is not None:
        counts += b',"prompt_tokens_details":{"cached_tokens":%d}' % usage.cached_tokens
    if usage.reasoning_tokens is not None:
        counts += b',"completion_tokens_details":{"reasoning_tokens":%d}' % usage.reasoning_tokens
    return counts + b"}"


def encode_error(error: ApiError) -> bytes:
    """A failure after the first token: one event, and no [DONE] follows."""
    return b"data: " + error.body() + b"\n\n"


def _merged(deltas: list[Delta]) -> Iterable[Delta]:
    """Neighbours of one choice as one delta: what piled up goes out in one chunk, and nothing is held back for it."""
    if len(deltas) < 2:
        return deltas
    merged: list[Delta] = []
    for delta in deltas:
        last = merged[-1] if merged else None
        if last is None or last.choice != delta.choice or last.finish_reason or last.tool_calls:
            merged.append(delta)
            continue
        merged[-1] = Delta(
            delta.choice,
            last.text + delta.text,
            delta.tool_calls,
            last.logprobs + delta.logprobs,
            delta.finish_reason,
        )
    return merged
