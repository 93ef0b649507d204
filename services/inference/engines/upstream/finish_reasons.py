"""Why a choice ended, in every dialect that is known; a reason nobody knows is an ordinary end."""

from __future__ import annotations

from typing import Any

from services.inference.domain.engine import FinishReason
from services.inference.domain.errors import TargetFailed

STOP = ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "end", "complete", "completed", "done", "finished")
LENGTH = ("length", "model_length", "max_tokens", "max_output_tokens", "max_length", "token_limit", "incomplete")
TOOL_CALLS = ("tool_calls", "function_call", "tool_use", "tool_call", "function_calls")
CONTENT_FILTER = (
    *("content_filter", "content_filtered", "safety", "image_safety", "recitation", "blocklist", "prohibited_content"),
    *("spii", "language", "refusal", "sensitive", "guardrail_intervened"),
)
FAILED = ("error", "abort", "aborted", "cancelled", "canceled", "failed", "timeout", "malformed_function_call")
NOT_ENDED = ("", "null", "none", "finish_reason_unspecified")
# What a reason that is in no list is taken for, by a word in it; the first that fits.
BY_WORD = (
    ("error", None),
    ("insufficient", None),
    ("filter", FinishReason.CONTENT_FILTER),
    ("safety", FinishReason.CONTENT_FILTER),
    ("length", FinishReason.LENGTH),
    ("max_", FinishReason.LENGTH),
    ("limit", FinishReason.LENGTH),
    ("exceeded", FinishReason.LENGTH),
    ("tool", FinishReason.TOOL_CALLS),
    ("function", FinishReason.TOOL_CALLS),
)
KNOWN: dict[str, FinishReason | None] = {
    **dict.fromkeys(STOP, FinishReason.STOP),
    **dict.fromkeys(LENGTH, FinishReason.LENGTH),
    **dict.fromkeys(TOOL_CALLS, FinishReason.TOOL_CALLS),
    **dict.fromkeys(CONTENT_FILTER, FinishReason.CONTENT_FILTER),
    **dict.fromkeys(FAILED, None),
}


def finish_reason(value: Any) -> FinishReason | None:
    """None: the choice goes on. Raises TargetFailed for an end that is the upstream's failure."""
    if isinstance(value, dict):
        value = value.get("type") or value.get("reason")
    if not value:
        return None
    name = str(value).strip().lower().replace("-", "_").replace(" ", "_")
    if name in NOT_ENDED:
        return None
    reason = KNOWN[name] if name in KNOWN else _by_word(name)
    if reason is None:
        raise TargetFailed("the upstream broke the answer off", "cut")
    return reason


def _by_word(name: str) -> FinishReason | None:
    return next((reason for word, reason in BY_WORD if word in name), FinishReason.STOP)
