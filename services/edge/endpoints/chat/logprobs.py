"""Log probabilities in OpenAI's form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.edge.serving.answer import TokenLogprob

# What OpenAI sends where a probability is too small to be told, -inf having no JSON form.
FLOOR = -9999.0


def logprobs_of(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The `logprobs` object of a choice."""
    content = [{**_entry(token), "top_logprobs": [_entry(rival) for rival in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


def _entry(token: TokenLogprob) -> dict[str, Any]:
    # max() would let NaN through; a NaN is not greater than anything.
    logprob = token.logprob if token.logprob > FLOOR else FLOOR
    return {"token": token.token, "logprob": logprob, "bytes": list(token.utf8)}
