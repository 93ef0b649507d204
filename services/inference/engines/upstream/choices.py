"""All choices of an answer, from upstreams that give several at once, refuse to, or ignore that they were asked for."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from services.inference.domain.engine import Delta, Sink, Usage
from services.inference.domain.errors import InvalidRequest
from services.inference.engines.sinks import Passing
from services.inference.engines.upstream.refusals import ContextRefused

if TYPE_CHECKING:
    from services.inference.engines.upstream.engine import UpstreamPrompt

# How servers say that they give one choice only: "'n' : number must be at most 1", "n must be 1 when using greedy …".
REFUSES_N = re.compile(
    r"^n: |\bn['\"`]?\s*(must be|:|=|>|is not|not)|greedy|multiple (choices|completions)", re.IGNORECASE
)
Way = Callable[["UpstreamPrompt", int, bool, Sink], Awaitable[Usage]]


@dataclass
class Asked:
    """One request to an upstream. `max_tokens`: what is taken of a choice at most; `implied` as in domain/engine.py."""

    choices: int
    max_tokens: int
    implied: bool
    fields: dict[str, Any] = field(default_factory=dict)  # of the body, in place of those of the client's request
    sent_max_tokens: int = 0  # in place of max_tokens, for a server with less context; 0: none
    begun: bool = False  # output came
    unseen: list[int] = field(default_factory=list)  # choices of which nothing came, when it has ended


async def every_choice(prompt: UpstreamPrompt, max_tokens: int, implied: bool, sink: Sink) -> Usage:
    """The output of all choices. What an upstream does not give at once it is asked for again.

    Raises what an answer raises.
    """
    *ways, last = _ways(prompt)
    for way in ways:
        attempt = Passing(sink)
        try:
            return await way(prompt, max_tokens, implied, attempt)
        except InvalidRequest as error:
            if attempt.started or not REFUSES_N.search(f"{error.param}: {error.message}"):
                raise
    return await last(prompt, max_tokens, implied, sink)


def _ways(prompt: UpstreamPrompt) -> list[Way]:
    """In what order to try; the next one when a server refuses to give several choices."""
    sampling, engine = prompt.request.sampling, prompt.engine
    if sampling.choices == 1:
        return [_together]
    alone = _one_repeated if sampling.temperature == 0 else _one_by_one
    if "n" in engine.config.unsupported or (alone is _one_repeated and engine.server == "vllm"):
        return [alone]
    return [_together, alone]


async def _one_repeated(prompt: UpstreamPrompt, max_tokens: int, implied: bool, sink: Sink) -> Usage:
    """One choice for all, which at temperature 0 are the same, and which counts once. vLLM refuses to give several."""
    repeating = Repeating(sink, prompt.request.sampling.choices)
    return await _within_context(prompt, Asked(1, max_tokens, implied, {"n": None}), repeating)


async def _together(prompt: UpstreamPrompt, max_tokens: int, implied: bool, sink: Sink) -> Usage:
    """All in one answer, and those that are not in it in answers of their own."""
    asked = Asked(prompt.request.sampling.choices, max_tokens, implied)
    total = await _within_context(prompt, asked, sink)
    return await _each(prompt, max_tokens, implied, asked.unseen, sink, total) if asked.unseen else total


async def _one_by_one(prompt: UpstreamPrompt, max_tokens: int, implied: bool, sink: Sink) -> Usage:
    """Each in an answer of its own."""
    return await _each(prompt, max_tokens, implied, range(prompt.request.sampling.choices), sink, None)


async def _each(
    prompt: UpstreamPrompt, max_tokens: int, implied: bool, choices: Iterable[int], sink: Sink, total: Usage | None
) -> Usage:
    """These choices one after the other; the Usage is theirs and what `total` has already."""
    for choice in choices:
        fields = {"n": None, "seed": _other_seed(prompt.request.sampling.seed, choice)}
        asked = Asked(1, max_tokens, implied, fields)
        total = _sum(total, await _within_context(prompt, asked, Numbered(sink, choice)))
    assert total is not None  # every answer ends with its usage, and there is at least one
    return total


async def _within_context(prompt: UpstreamPrompt, asked: Asked, sink: Sink) -> Usage:
    """One answer. An upstream with less context than the list says is asked once more, for what its own leaves."""
    try:
        return await prompt.answer(asked, sink)
    except ContextRefused as error:
        prompt.engine.context.look_again()
        left = error.limit - prompt.prepared.prompt_tokens
        if asked.begun or not 0 < left < asked.max_tokens:
            raise
    asked.sent_max_tokens, asked.implied = left, False
    return await prompt.answer(asked, sink)


class Numbered(Passing):
    """An answer of one choice as the choice of this number."""

    def __init__(self, below: Sink, choice: int) -> None:
        super().__init__(below)
        self._choice = choice

    def on_deltas(self, deltas: Sequence[Delta]) -> None:
        """See Sink."""
        super().on_deltas([replace(delta, choice=self._choice) for delta in deltas])


class Repeating(Passing):
    """The same for every choice; the tokens count for the first alone."""

    def __init__(self, below: Sink, choices: int) -> None:
        super().__init__(below)
        self._others = range(1, choices)

    def on_deltas(self, deltas: Sequence[Delta]) -> None:
        """See Sink."""
        copies = [replace(delta, choice=choice, tokens=0) for choice in self._others for delta in deltas]
        super().on_deltas([*deltas, *copies])


def _other_seed(seed: int | None, choice: int) -> int | None:
    """Another one for each choice, which would all be the same otherwise; 64 bits, as seeds have."""
    return None if seed is None else (seed + choice + 2**63) % 2**64 - 2**63


def _sum(one: Usage | None, other: Usage) -> Usage:
    """Of two answers to one prompt, which counts once."""
    if one is None:
        return other
    reasoning = [each for each in (one.reasoning_tokens, other.reasoning_tokens) if each is not None]
    return Usage(
        one.prompt_tokens,
        one.output_tokens + other.output_tokens,
        one.estimated or other.estimated,
        one.cached_tokens,
        sum(reasoning) if reasoning else None,
    )
