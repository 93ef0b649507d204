"""Prometheus metrics of inference. Labels are model ids of the list and fixed words, so their number is bounded."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

GENERATIONS = Counter("muhgpt_inference_generations_total", "Generations that ended, by outcome", ["model", "outcome"])
OUTPUT_TOKENS = Counter("muhgpt_inference_output_tokens_total", "Output tokens that engines gave", ["model"])
PROMPT_TOKENS = Counter("muhgpt_inference_prompt_tokens_total", "Prompt tokens of generations that started", ["model"])
FIRST_TOKEN = Histogram(
    "muhgpt_inference_first_token_seconds",
    "From go to the first token, waiting for a slot included",
    ["model"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
QUEUE_WAIT = Histogram(
    "muhgpt_inference_queue_wait_seconds",
    "From go to the slot",
    ["model"],
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60),
)
SPEED = Histogram(
    "muhgpt_inference_output_tokens_per_second",
    "Output tokens a second, all choices, of each generation that finished, from its first token to its last",
    ["model"],
    buckets=(1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000, 2000),
)
IMAGES = Counter("muhgpt_inference_images_total", "Images of requests, by source and outcome", ["source", "outcome"])
WAITING = Gauge("muhgpt_inference_waiting", "Requests waiting for an engine slot")
RUNNING = Gauge("muhgpt_inference_running", "Requests generating")
WORKER_RESTARTS = Counter("muhgpt_inference_worker_restarts_total", "Restarts of an engine's worker", ["model"])
WORKER_UP = Gauge("muhgpt_inference_worker_up", "1 while an engine's worker answers", ["model"])
TARGET_REQUESTS = Counter(
    "muhgpt_inference_target_requests_total",
    "Requests to a model's targets, by outcome",
    ["model", "target", "outcome"],
)
TARGET_RETRIES = Counter("muhgpt_inference_target_retries_total", "Requests sent once more, before a token", ["model"])
TARGET_CIRCUIT = Gauge(
    "muhgpt_inference_target_circuit", "0 closed, 1 half open, 2 open: a target is left alone", ["model", "target"]
)
USAGE_DISBELIEVED = Counter(
    "muhgpt_inference_usage_disbelieved_total",
    "Counts in upstreams' usage that cannot be right, of the prompt or the output",
    ["model", "target", "count"],
)
TARGET_FIRST_TOKEN = Histogram(
    "muhgpt_inference_target_first_token_seconds",
    "From sending a request to a target to its first output",
    ["model", "target"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


class GenerationMeter:
    """Implements Meter (domain/generation.py)."""

    def granted(self, model: str, waited: float, prompt_tokens: int) -> None:
        """See Meter."""
        QUEUE_WAIT.labels(model).observe(waited)
        PROMPT_TOKENS.labels(model).inc(prompt_tokens)

    def first_output(self, model: str, seconds: float) -> None:
        """See Meter."""
        FIRST_TOKEN.labels(model).observe(seconds)

    def speed(self, model: str, tokens_per_second: float) -> None:
        """See Meter."""
        SPEED.labels(model).observe(tokens_per_second)

    def ended(self, model: str, outcome: str, output_tokens: int) -> None:
        """See Meter."""
        GENERATIONS.labels(model, outcome).inc()
        OUTPUT_TOKENS.labels(model).inc(output_tokens)


GENERATION_METER = GenerationMeter()
