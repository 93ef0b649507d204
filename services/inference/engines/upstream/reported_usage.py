"""The token counts that an upstream reports, whatever form they come in. Whether they are believed: chunks.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.inference.engines.upstream.values import count, mapping

PROMPT = ("prompt_tokens", "input_tokens")
OUTPUT = ("completion_tokens", "output_tokens")
PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
# Beside `cached_tokens` in the details, where some providers write it.
CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """None: not reported, or reported as something that is no count."""

    prompt: int | None = None
    output: int | None = None
    cached: int | None = None  # of the prompt, read from the upstream's cache
    reasoning: int | None = None  # of the output, not shown

    def updated(self, later: ReportedUsage) -> ReportedUsage:
        """What is known when another came later: its counts, and the earlier ones where it has none."""
        return ReportedUsage(
            later.prompt or self.prompt,
            later.output or self.output,
            self.cached if later.cached is None else later.cached,
            self.reasoning if later.reasoning is None else later.reasoning,
        )

    def plus(self, other: ReportedUsage) -> ReportedUsage:
        """The counts of further choices of the same prompt."""
        return ReportedUsage(
            other.prompt or self.prompt,
            _sum(self.output, other.output),
            self.cached if other.cached is None else other.cached,
            _sum(self.reasoning, other.reasoning),
        )


NOTHING = ReportedUsage()


def read_usage(value: Any) -> ReportedUsage:
    """A usage object; NOTHING for anything else."""
    usage = mapping(value)
    if not usage:  # as in nearly every chunk
        return NOTHING
    prompt, output = _first(usage, PROMPT), _first(usage, OUTPUT)
    cached = _in_details(usage, PROMPT_DETAILS, "cached_tokens")
    reasoning = _in_details(usage, OUTPUT_DETAILS, "reasoning_tokens")
    return ReportedUsage(
        prompt,
        output,
        _first(usage, CACHED) if cached is None else cached,
        _first(usage, ("reasoning_tokens",)) if reasoning is None else reasoning,
    )


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((number for name in names if (number := count(fields.get(name))) is not None), None)


def _in_details(usage: dict[str, Any], places: tuple[str, ...], name: str) -> int | None:
    found = (count(mapping(usage.get(place)).get(name)) for place in places)
    return next((number for number in found if number is not None), None)


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)
