"""Output tokens while an upstream's answer runs. Each upstream reports them in its own way, or not before the end.

The best of what is at hand is used: a running count (vLLM's and SGLang's continuous_usage_stats, llama.cpp's timings),
then one token for each log probability, then our own count of the text. The final usage settles it (chunks.py).
"""

from __future__ import annotations

from services.inference.engines.upstream.tokens.counter import TokenCounter
from services.inference.engines.upstream.tokens.running_count import RunningCount

LONGEST_TOKEN = 256  # bytes: no vocabulary in use has a longer one, so more are surely more tokens
Output = tuple[str, str, str]  # text, reasoning, calls: each is counted as a text of its own


class ChoiceCount:
    """One choice's tokens. They never shrink."""

    __slots__ = ("_bytes", "_counted", "_counter", "_exact", "_logprobs", "_most", "_texts", "tokens")

    def __init__(self, most: int, counter: TokenCounter) -> None:
        """`most`: what was asked for."""
        self.tokens = 0
        self._most = most
        self._counter = counter
        self._bytes = self._logprobs = 0
        self._counted = 0  # here, of all texts
        self._exact: int | None = None
        self._texts: dict[int, RunningCount] = {}

    def add(self, output: Output, logprobs: int, exact: int | None) -> None:
        """What one chunk brought; `exact` is a running count of this choice."""
        text, reasoning, calls = output
        self._bytes += len(text) + len(reasoning) + len(calls)
        self._logprobs += logprobs
        if exact is not None:
            self._exact = exact
        if self._exact is None and not self._logprobs:
            for kind, words in enumerate(output):
                if words:
                    self._count(kind, words)
        best = self._exact if self._exact is not None else self._logprobs or self._counted
        if best > self.tokens:
            self.tokens = max(self.tokens, min(best, self._most))

    def _count(self, kind: int, text: str) -> None:
        running = self._texts.get(kind)
        if running is None:
            running = self._texts[kind] = self._counter.running()
        before = running.tokens
        running.add(text)
        self._counted += running.tokens - before

    @property
    def _counts_here(self) -> bool:
        return self._exact is None and not self._logprobs

    @property
    def guessed(self) -> bool:
        """Whether it is an estimate: counted here, and not with the model's own tokenizer."""
        return self._counts_here and self._counter.estimates

    @property
    def overrun(self) -> bool:
        """Whether the upstream surely went past what was asked for."""
        known = self._exact if self._exact is not None else self._logprobs
        return known > self._most or self._bytes > self._most * LONGEST_TOKEN
