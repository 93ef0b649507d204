"""Which counts of an upstream are believed. One that is not is replaced by ours: nobody pays for another's mistake."""

from __future__ import annotations

from services.inference.engines.upstream.tokens.counter import PromptTokens

LEAST, MOST = 0.5, 2.0  # times our own count of a prompt: vocabularies differ by less
SLACK = 32  # tokens more or less: a template's own words weigh most in short prompts


def plausible_prompt(reported: int | None, ours: PromptTokens) -> int | None:
    """The upstream's count of a prompt; None when there is none or it cannot be right.

    Models differ most in what an image takes, and may take next to nothing: it widens the range downwards.
    """
    if not reported:
        return None
    least = LEAST * (ours.tokens - ours.of_images) - SLACK
    return reported if least <= reported <= MOST * ours.tokens + SLACK else None


def plausible_output(reported: int | None, most: int) -> int | None:
    """The upstream's count of an answer that has come. None when there is none, when it would make the answer free, or
    when it is above what was asked for (`most`, of all choices)."""
    return reported if reported and 1 <= reported <= most else None
