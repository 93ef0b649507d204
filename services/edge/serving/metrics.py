"""What the edge's pipeline counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_FINE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

ANSWERS_OPEN = Gauge("muhgpt_edge_answers_open", "Answers being prepared or running", multiprocess_mode="livesum")
FIRST_TOKEN = Histogram(
    "muhgpt_edge_first_token_seconds", "From the request's admission at the edge to its first output", buckets=_FINE
)
SETTLE_WAIT = Histogram("muhgpt_edge_settle_seconds", "From the engine's end to the committed charge", buckets=_FINE)
REFUSALS = Counter("muhgpt_edge_refusals_total", "Requests refused before their first token, by the error", ["reason"])
OUTCOMES = Counter("muhgpt_edge_answers_total", "Answers that were admitted, by how they ended", ["outcome"])
SETTLEMENTS_LATE = Counter(
    "muhgpt_edge_settlements_late_total", "Answers that ended before quota acknowledged their charge"
)
PROMPT_TOKENS = Counter("muhgpt_edge_prompt_tokens_total", "Prompt tokens of answers that had output, as charged")
OUTPUT_TOKENS = Counter("muhgpt_edge_output_tokens_total", "Output tokens handed to quota to be charged")
