"""The worker's server-sent events of one choice, read as deltas. Runs for every token: one JSON parse, one object."""

from __future__ import annotations

from typing import Any

import orjson

from services.inference.domain.engine import Delta, FinishReason, TokenLogprob
from services.inference.domain.errors import EngineUnavailable
from services.inference.domain.tool_calls import ToolCallParser

PREFIX = b"data: "
# Of the last event: the rest of it would repeat the whole request.
LAST_FIELDS = ["content", "tokens_predicted", "tokens_evaluated", "stop", "stop_type", "completion_probabilities"]


class CompletionReader:
    """Turns bytes into deltas of one choice; what came together becomes one delta."""

    def __init__(self, choice: int, parser: ToolCallParser | None = None, *, top_logprobs: int | None = None) -> None:
        """`top_logprobs`: how many rivals to tell of each token; None: no log probabilities."""
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.ended = False
        self._choice = choice
        self._parser = parser
        self._top = top_logprobs
        self._rest = b""

    @property
    def done(self) -> bool:
        """Whether the one call that was wanted has come: what else the worker would say is of no use."""
        return self._parser is not None and self._parser.done

    def feed(self, chunk: bytes) -> Delta | None:
        """What these bytes hold; None when no event is complete. Raises EngineUnavailable for an error event."""
        *events, self._rest = (self._rest + chunk).split(b"\n\n")
        text, before = "", self.output_tokens
        logprobs: list[TokenLogprob] = []
        reason: FinishReason | None = None
        for event in events:
            if not event.startswith(PREFIX):  # comments that keep the connection alive
                continue
            data = orjson.loads(event[len(PREFIX) :])
            if "tokens_predicted" not in data:
                raise EngineUnavailable("the worker ended the answer with an error")
            self.output_tokens = data["tokens_predicted"]
            text += data["content"]
            if self._top is not None:
                logprobs += [_logprob(item, self._top) for item in data.get("completion_probabilities", ())]
            if data["stop"]:
                reason = self._end(data)
        tokens = self.output_tokens - before
        if self._parser is not None:
            return self._with_calls(self._parser, text, tokens, logprobs, reason)
        if not tokens and not text and reason is None:
            return None
        return Delta(self._choice, text, tokens, (), tuple(logprobs), reason)

    def _end(self, data: dict[str, Any]) -> FinishReason:
        self.ended = True
        self.prompt_tokens = data["tokens_evaluated"]
        return FinishReason.LENGTH if data["stop_type"] == "limit" else FinishReason.STOP

    def _with_calls(
        self,
        parser: ToolCallParser,
        text: str,
        tokens: int,
        logprobs: list[TokenLogprob],
        reason: FinishReason | None,
    ) -> Delta | None:
        shown, calls = parser.feed(text)
        if reason is not None:
            more, last = parser.finish(cut=reason is FinishReason.LENGTH)
            shown, calls = shown + more, calls + last
        if parser.done or (parser.called and reason is FinishReason.STOP):
            reason = FinishReason.TOOL_CALLS
        if not tokens and not shown and not calls and reason is None:
            return None
        return Delta(self._choice, shown, tokens, tuple(calls), tuple(logprobs), reason)


def _logprob(item: dict[str, Any], top: int) -> TokenLogprob:
    rivals = tuple(_logprob(rival, 0) for rival in item["top_logprobs"][:top]) if top else ()
    return TokenLogprob(item["token"], bytes(item["bytes"]), item["logprob"], rivals)
