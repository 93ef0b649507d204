"""The engine's deltas as the HTTP side takes them."""

from __future__ import annotations

from muhgpt.inference.v1 import inference_pb2
from services.edge.serving.answer import Delta, FinishReason, TokenLogprob, ToolCallDelta, Usage

FINISH_REASONS: dict[int, FinishReason | None] = {
    inference_pb2.FINISH_REASON_UNSPECIFIED: None,
    inference_pb2.FINISH_REASON_STOP: "stop",
    inference_pb2.FINISH_REASON_LENGTH: "length",
    inference_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
    inference_pb2.FINISH_REASON_CONTENT_FILTER: "content_filter",
    inference_pb2.FINISH_REASON_CANCELLED: "stop",  # the edge did not ask for it, or it would not be reading
}


def to_delta(message: inference_pb2.Delta) -> Delta:
    """One delta; the common one has text and nothing else."""
    calls = message.tool_calls
    logprobs = message.logprobs
    return Delta(
        message.choice,
        message.text,
        tuple(ToolCallDelta(each.index, each.id, each.name, each.arguments) for each in calls) if calls else (),
        tuple(_logprob(each) for each in logprobs) if logprobs else (),
        FINISH_REASONS.get(message.finish_reason),
    )


def with_details(usage: Usage | None, finished: inference_pb2.Finished) -> Usage | None:
    """What was charged, with what the engine says of it. A part is never more than the whole."""
    if usage is None:
        return None
    cached = finished.cached_tokens if finished.HasField("cached_tokens") else None
    reasoning = finished.reasoning_tokens if finished.HasField("reasoning_tokens") else None
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        None if cached is None else max(0, min(cached, usage.prompt_tokens)),
        None if reasoning is None else max(0, min(reasoning, usage.completion_tokens)),
    )


def _logprob(message: inference_pb2.TokenLogprob) -> TokenLogprob:
    return TokenLogprob(message.token, message.utf8, message.logprob, tuple(_logprob(each) for each in message.top))
