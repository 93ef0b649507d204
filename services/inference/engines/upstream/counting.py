"""Output tokens while an upstream's answer runs. Each upstream tells them in its own way, or not before the end.

The best of what is at hand is used: a running count (vLLM's and SGLang's continuous_usage_stats, llama.cpp's timings),
then one token for each log probability, then an estimate by bytes. The final usage settles it (chunks.py).
"""

from __future__ import annotations

BYTES_A_TOKEN = 4  # of English text in common vocabularies; others take fewer, so this counts low rather than high
LONGEST_TOKEN = 256  # bytes: no vocabulary in use has a longer one, so more are surely more tokens


class ChoiceCount:
    """One choice's tokens. They never shrink."""

    __slots__ = ("_bytes", "_exact", "_logprobs", "_most", "tokens")

    def __init__(self, most: int) -> None:
        """`most`: what was asked for."""
        self.tokens = 0
        self._most = most
        self._bytes = self._logprobs = 0
        self._exact: int | None = None

    def add(self, output_bytes: int, logprobs: int, exact: int | None) -> None:
        """What one chunk brought; `exact` is a running count of this choice."""
        self._bytes += output_bytes
        self._logprobs += logprobs
        if exact is not None:
            self._exact = exact
        self.tokens = max(self.tokens, min(self._best(), self._most))

    def _best(self) -> int:
        if self._exact is not None:
            return self._exact
        if self._logprobs:
            return self._logprobs
        return max(1, self._bytes // BYTES_A_TOKEN) if self._bytes else 0

    @property
    def overrun(self) -> bool:
        """Whether the upstream surely went past what was asked for."""
        known = self._exact if self._exact is not None else self._logprobs
        return known > self._most or self._bytes > self._most * LONGEST_TOKEN
