"""One choice of an upstream's answer: its text, calls, log probabilities, tokens and end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from services.inference.domain.engine import Delta, FinishReason, TokenLogprob, ToolCallDelta
from services.inference.domain.errors import InvalidRequest
from services.inference.engines.upstream.counting import ChoiceCount
from services.inference.engines.upstream.finish_reasons import finish_reason
from services.inference.engines.upstream.stops import Piece, StopCutter
from services.inference.engines.upstream.tool_calls import CallReader
from services.inference.engines.upstream.values import items, mapping, thoughts, words

PLAIN = ("content", "role")
THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")


class LogprobsIgnored(InvalidRequest):
    """The upstream answers as if no log probabilities had been asked for."""

    def __init__(self) -> None:
        super().__init__("this model gives no log probabilities; leave 'logprobs' out", param="logprobs")


class ChoiceReader:
    """Reads the items of one choice."""

    def __init__(
        self, index: int, count: ChoiceCount, stops: Sequence[str], new_call_id: Callable[[], str], logprobs: bool
    ) -> None:
        """`logprobs`: they were asked for."""
        self.index = index
        self.count = count
        self.reason: FinishReason | None = None
        self.seen = False
        self.output_bytes = 0  # so far, reasoning and calls too
        self.shown_tokens = 0  # of the deltas given out
        self.cut = False  # it was ended here, at a stop sequence that the upstream went past
        self._stops = StopCutter(stops)
        self._calls = CallReader(new_call_id)
        self._over = False  # more came than was asked for
        self._lacks_logprobs = logprobs  # until the first came

    def read(self, item: dict[str, Any], exact: int | None) -> Delta | None:
        """What an item of `choices` brings; `exact` is a running count of this choice.

        Raises TargetFailed; LogprobsIgnored at the first text that comes without those that were asked for.
        """
        self.seen = True
        if self.cut or self._over:
            return None
        delta = mapping(item.get("delta")) or mapping(item.get("message"))
        logprobs = read_logprobs(item["logprobs"]) if item.get("logprobs") else ()
        text, thought, calls, called = self._brought(delta)
        if text and not logprobs and self._lacks_logprobs:
            raise LogprobsIgnored()
        self._lacks_logprobs = self._lacks_logprobs and not logprobs
        tokens = self._counted((text, thought, called), len(logprobs), exact)
        if not tokens and self.count.overrun:  # all that was asked for was there before
            self._over, self.reason = True, FinishReason.LENGTH
            return None
        if not self._stops.idle:
            shown = self._stops.feed(Piece(text, tokens, logprobs))
            text, tokens, logprobs = shown.text, shown.tokens, shown.logprobs
            self.cut = self._stops.cut
        if self.cut:
            self.reason = FinishReason.STOP
        elif item.get("finish_reason") is not None:
            self.reason = finish_reason(item["finish_reason"]) or self.reason
        if not (text or tokens or calls or logprobs):
            return None
        self.shown_tokens += tokens
        return Delta(self.index, text, tokens, calls, logprobs)

    def _brought(self, delta: dict[str, Any]) -> tuple[str, str, tuple[ToolCallDelta, ...], str]:
        """Text, reasoning, calls, and the calls' words as they are counted."""
        if (text := _plain(delta)) is not None:
            return text, "", (), ""
        content = delta.get("content")
        text = words(content) or words(delta.get("refusal"))
        thought = thoughts(content) + "".join(words(delta.get(name)) for name in THOUGHT_FIELDS[:1])
        thought = thought or next((found for name in THOUGHT_FIELDS if (found := words(delta.get(name)))), "")
        return text, thought, self._calls.read(delta), _called(delta)

    def _counted(self, output: tuple[str, str, str], logprobs: int, exact: int | None) -> int:
        before = self.count.tokens
        for text in output:
            self.output_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        self.count.add(output, logprobs, exact)
        return self.count.tokens - before

    def finish(self) -> Delta:
        """Its last delta."""
        reason = self.reason or FinishReason.LENGTH
        held = Piece() if self.cut else self._stops.finish()
        calls = self._calls.finish(cut=reason is FinishReason.LENGTH)
        if reason is FinishReason.STOP and self._calls.called:  # OpenAI says so when a function was named
            reason = FinishReason.TOOL_CALLS
        elif reason is FinishReason.TOOL_CALLS and not self._calls.called:
            reason = FinishReason.STOP
        self.shown_tokens += held.tokens
        return Delta(self.index, held.text, held.tokens, calls, held.logprobs, reason)


def _plain(delta: dict[str, Any]) -> str | None:
    """The text of a delta that brings nothing else, as nearly all of them; None: it must be looked at closely."""
    for name, value in delta.items():
        if value and name not in PLAIN:
            return None
    content = delta.get("content")
    return content if isinstance(content, str) else None


def read_logprobs(value: Any) -> tuple[TokenLogprob, ...]:
    """The `logprobs` of an item; entries that are none are left out."""
    found = map(_logprob, items(mapping(value).get("content")))
    return tuple(item for item in found if item is not None)


def _logprob(value: Any) -> TokenLogprob | None:
    item = mapping(value)
    token, logprob = item.get("token"), item.get("logprob")
    if not isinstance(token, str):
        return None
    if isinstance(logprob, bool) or not isinstance(logprob, int | float) or math.isnan(logprob):
        return None
    rivals = tuple(rival for rival in map(_logprob, items(item.get("top_logprobs"))) if rival is not None)
    return TokenLogprob(token, _utf8(token, item.get("bytes")), min(0.0, float(logprob)), rivals)


def _utf8(token: str, told: Any) -> bytes:
    try:
        return bytes(told) if isinstance(told, list) else token.encode()
    except (TypeError, ValueError):
        return token.encode()


def _called(delta: dict[str, Any]) -> str:
    """What a delta brings of calls."""
    called = ""
    for piece in items(delta.get("tool_calls")) or items(delta.get("function_call")):
        function = mapping(mapping(piece).get("function")) or mapping(piece)
        told = (function.get("name"), function.get("arguments"))
        called += "".join(part if isinstance(part, str) else str(part) for part in told if part)
    return called
