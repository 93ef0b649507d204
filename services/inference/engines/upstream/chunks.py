"""An upstream's chunks as deltas, with token counts that end in the upstream's own.

A choice's finish_reason is held back until the usage is there, so that what the running count was too low by rides on
the last delta, which the edge delivers only when the hold covers it (docs/upstreams.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from services.inference.domain.engine import Delta, FinishReason, TokenLogprob, ToolCallDelta, Usage
from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.counting import ChoiceCount
from services.inference.engines.upstream.refusals import failure_of

REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
FAILED = ("error", "abort")
DONE = b"[DONE]"


class _Choice:
    """What is known of one choice."""

    __slots__ = ("calls", "count", "reason")

    def __init__(self, most: int) -> None:
        self.count = ChoiceCount(most)
        self.calls: dict[Any, _Call] = {}
        self.reason: FinishReason | None = None


class _Call:
    """One tool call; it begins for the client when its name is known."""

    __slots__ = ("begun", "held", "id", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.begun = False
        self.held = ""


class ChunkReader:
    """Reads one answer."""

    def __init__(self, choices: int, max_tokens: int, new_call_id: Callable[[], str]) -> None:
        self.done = False
        self._choices = [_Choice(max_tokens) for _ in range(choices)]
        self._most = choices * max_tokens
        self._new_call_id = new_call_id
        self._told = 0  # tokens of the deltas given out
        self._usage: tuple[int, int] | None = None  # prompt, output: the upstream's own

    @property
    def complete(self) -> bool:
        """Whether every choice has ended, so that only the usage can follow."""
        return all(choice.reason is not None for choice in self._choices)

    @property
    def overrun(self) -> bool:
        """Whether the upstream generates more than it was asked for."""
        return any(choice.count.overrun for choice in self._choices)

    def read(self, data: bytes) -> list[Delta]:
        """The output that one event brings. Raises TargetFailed; InvalidRequest when the event says so."""
        if data.strip() == DONE:
            self.done = True
            return []
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise TargetFailed("the upstream sent an event that is not JSON", "protocol") from None
        try:
            return self._read(chunk)
        except (TypeError, AttributeError, KeyError, ValueError, IndexError):
            raise TargetFailed("the upstream sent a chunk of another form than OpenAI's", "protocol") from None

    def _read(self, chunk: dict[str, Any]) -> list[Delta]:
        if error := chunk.get("error"):
            raise failure_of(error.get("code") if isinstance(error, dict) else None, error)
        told = chunk.get("choices") or []
        usage = chunk.get("usage")
        exact = _timings(chunk)
        if usage and exact is None and told:
            exact = usage["completion_tokens"]
        deltas = [delta for item in told if (delta := self._read_choice(item, exact)) is not None]
        if usage:
            self._note(usage, alone=not told)
        return deltas

    def _read_choice(self, item: dict[str, Any], exact: int | None) -> Delta | None:
        index = item.get("index") or 0
        choice = self._choices[index]
        delta = item.get("delta") or {}
        text = delta.get("content") or delta.get("refusal") or ""
        thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
        calls = self._read_calls(choice, delta.get("tool_calls") or ())
        logprobs = tuple(map(_logprob, (item.get("logprobs") or {}).get("content") or ()))
        size = len(text.encode()) + len(thought.encode()) + sum(len(call.name + call.arguments) for call in calls)
        before = choice.count.tokens
        choice.count.add(size, len(logprobs), exact)
        tokens = choice.count.tokens - before
        self._told += tokens
        if reason := item.get("finish_reason"):
            if reason in FAILED:
                raise TargetFailed("the upstream broke the answer off", "cut")
            choice.reason = REASONS.get(reason, FinishReason.STOP)
        if not (text or tokens or calls or logprobs):
            return None
        return Delta(index, text, tokens, calls, logprobs)

    def _read_calls(self, choice: _Choice, items: Any) -> tuple[ToolCallDelta, ...]:
        return tuple(delta for item in items if (delta := self._read_call(choice, item)) is not None)

    def _read_call(self, choice: _Choice, item: dict[str, Any]) -> ToolCallDelta | None:
        function = item.get("function") or {}
        key = item.get("index")
        if key is None:  # some leave it away: an id begins a call, and what has none goes on with the last
            key = item.get("id") or next(reversed(choice.calls), "")
        call = choice.calls.setdefault(key, _Call(len(choice.calls)))
        call.id = call.id or item.get("id") or ""
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        if call.begun:
            return ToolCallDelta(call.index, arguments=arguments) if arguments else None
        call.held += arguments
        if not (name := function.get("name")):
            return None
        call.begun = True
        return ToolCallDelta(call.index, call.id or self._new_call_id(), name, call.held)

    def _note(self, usage: dict[str, Any], *, alone: bool) -> None:
        """A usage that stands alone is the whole answer's; one beside a choice is, when there is but that one.

        llama.cpp sends one for each choice (seen), so of several choices they add up.
        """
        if not alone and len(self._choices) > 1:
            return
        prompt, output = int(usage.get("prompt_tokens") or 0), int(usage["completion_tokens"])
        if alone and len(self._choices) > 1 and self._usage is not None:
            output += self._usage[1]
        self._usage = (prompt, output)

    def finish(self, prompt_tokens: int) -> tuple[list[Delta], Usage]:
        """The last deltas, one a choice, and the usage. Raises TargetFailed when the answer was cut off.

        `prompt_tokens` is what was counted before, for an upstream that tells none.
        """
        if not self.complete and not self.overrun:
            raise TargetFailed("the upstream's answer was cut off", "cut")
        overrun = self.overrun
        prompt, output, estimated = prompt_tokens, self._told, True
        if self._usage is not None and self._usage[1] > 0 and not overrun:
            prompt, output, estimated = self._usage[0] or prompt_tokens, min(self._usage[1], self._most), False
        deltas = [self._last(index, choice) for index, choice in enumerate(self._choices)]
        deltas[0].tokens = max(0, output - self._told)
        return deltas, Usage(prompt, output, estimated)

    @staticmethod
    def _last(index: int, choice: _Choice) -> Delta:
        reason = choice.reason or FinishReason.LENGTH
        if reason is FinishReason.STOP and choice.calls:  # OpenAI says so when a function was named
            reason = FinishReason.TOOL_CALLS
        return Delta(index, "", 0, finish_reason=reason)


def _timings(chunk: dict[str, Any]) -> int | None:
    """llama.cpp's own count of the choice that this chunk is of."""
    timings = chunk.get("timings")
    return int(timings["predicted_n"]) if timings else None


def _logprob(item: dict[str, Any]) -> TokenLogprob:
    token = item["token"]
    utf8 = token.encode() if item.get("bytes") is None else bytes(item["bytes"])
    return TokenLogprob(token, utf8, item["logprob"], tuple(map(_logprob, item.get("top_logprobs") or ())))
