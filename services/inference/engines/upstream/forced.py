"""A call that the client forced, checked before the client sees any of it.

Not every server holds a forced call to its schema, and some write no call at all. What does not fit is never passed on:
it is repaired where that is certain, and otherwise the answer has failed.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from servicekit.clock import Clock
from services.inference.domain.chat import ChatRequest, ToolMode
from services.inference.domain.engine import Delta, FinishReason, Sink, TokenLogprob, ToolCallDelta, Usage
from services.inference.domain.errors import TargetFailed
from services.inference.domain.json.fit import fits
from services.inference.engines.sinks import Passing

QUIET = 10.0  # seconds that a client's connection stays without a byte while a call is collected
REPORTED = 8  # tokens between two reports of what is held back


@dataclass(frozen=True)
class ForcedCall:
    """What must be called: one of the tools, whose arguments fit its schema. `single`: one call and no more."""

    schemas: Mapping[str, Any]  # by the function's name
    single: bool

    @classmethod
    def of(cls, request: ChatRequest) -> ForcedCall | None:
        """What a request forces; None: nothing."""
        choice = request.tool_choice
        if not choice.forced:
            return None
        named = [tool for tool in request.tools if choice.mode is not ToolMode.FUNCTION or tool.name == choice.name]
        schemas = {tool.name: orjson.loads(tool.parameters or "{}") for tool in named}
        return cls(schemas, request.parallel_tool_calls is False)

    async def check(self, answer: Callable[[Sink], Awaitable[Usage]], choices: int, clock: Clock, sink: Sink) -> Usage:
        """The answer as one delta a choice at its end. Raises TargetFailed when one that was not cut does not fit."""
        held = Held(sink, clock)
        usage = await answer(held)
        # A client's schema may cost more than the event loop may stand still.
        sink.on_deltas(await asyncio.to_thread(self._whole, held.deltas, choices))
        return usage

    def _whole(self, deltas: Sequence[Delta], choices: int) -> list[Delta]:
        return [self._choice(_merged(index, deltas)) for index in range(choices)]

    def _choice(self, delta: Delta) -> Delta:
        if delta.finish_reason not in (FinishReason.STOP, FinishReason.TOOL_CALLS):
            return delta
        calls = delta.tool_calls[:1] if self.single else delta.tool_calls
        if not calls:
            raise _unfit("the upstream's answer does not call the function that it must call")
        fitting = tuple(ToolCallDelta(call.index, call.id, call.name, self._arguments(call)) for call in calls)
        return Delta(delta.choice, "", delta.tokens, fitting, delta.logprobs, FinishReason.TOOL_CALLS)

    def _arguments(self, call: ToolCallDelta) -> str:
        """As they are, or the object within a text: some write it as a JSON string."""
        if call.name not in self.schemas:
            raise _unfit("the upstream's answer calls another function than it must")
        schema, text = self.schemas[call.name], call.arguments
        for _ in range(2):
            value = _parsed(text)
            if isinstance(value, dict):
                if fits(value, schema):
                    return text
                break
            if not isinstance(value, str):
                break
            text = value
        raise _unfit("the arguments of the upstream's forced call do not fit their schema")


class Held(Passing):
    """Keeps what comes.

    Withheld says meanwhile what a client that leaves has had generated. When it takes long an empty delta says that it
    has begun, so that the client's connection is kept alive.
    """

    def __init__(self, below: Sink, clock: Clock) -> None:
        super().__init__(below)
        self.deltas: list[Delta] = []
        self._clock = clock
        self._tokens = self._reported = 0
        self._quiet_until = clock.monotonic() + QUIET

    def on_deltas(self, deltas: Sequence[Delta]) -> None:
        """See Sink."""
        self.deltas += deltas
        self._tokens += sum(delta.tokens for delta in deltas)
        if self._tokens >= self._reported + (REPORTED if self._reported else 1):
            self._reported = self._tokens
            self.below.on_withheld(self._tokens)
        if self._clock.monotonic() >= self._quiet_until:
            self._quiet_until = math.inf
            self.below.on_deltas([Delta(0, "", 0)])


def _merged(choice: int, deltas: Sequence[Delta]) -> Delta:
    """All that came of one choice as one delta."""
    text, tokens, reason = "", 0, None
    logprobs: list[TokenLogprob] = []
    calls: dict[int, ToolCallDelta] = {}
    for delta in (each for each in deltas if each.choice == choice):
        text, tokens, reason = text + delta.text, tokens + delta.tokens, delta.finish_reason or reason
        logprobs += delta.logprobs
        for piece in delta.tool_calls:
            known = calls.get(piece.index, ToolCallDelta(piece.index))
            arguments = known.arguments + piece.arguments
            calls[piece.index] = ToolCallDelta(piece.index, known.id or piece.id, known.name or piece.name, arguments)
    return Delta(choice, text, tokens, tuple(calls.values()), tuple(logprobs), reason)


def _parsed(text: str) -> Any:
    """JSON as every parser takes it; None for what is none. Python's reads integers of any size, orjson's does not."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _unfit(problem: str) -> TargetFailed:
    return TargetFailed(problem, "unfit", healthy=True)
