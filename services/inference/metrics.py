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
    """Implements Meter (domain/generation.py). Metrics are found by their labels once a model."""

    def __init__(self) -> None:
        self._of: dict[str, _OfModel] = {}
        self._outcomes: dict[tuple[str, str], Counter] = {}

    def granted(self, model: str, waited: float, prompt_tokens: int) -> None:
        """See Meter."""
        found = self._find(model)
        found.queue_wait.observe(waited)
        found.prompt_tokens.inc(prompt_tokens)

    def first_output(self, model: str, seconds: float) -> None:
        """See Meter."""
        self._find(model).first_token.observe(seconds)

    def speed(self, model: str, tokens_per_second: float) -> None:
        """See Meter."""
        self._find(model).speed.observe(tokens_per_second)

    def ended(self, model: str, outcome: str, output_tokens: int) -> None:
        """See Meter."""
        counter = self._outcomes.get((model, outcome))
        if counter is None:
            counter = self._outcomes[model, outcome] = GENERATIONS.labels(model, outcome)
        counter.inc()
        self._find(model).output_tokens.inc(output_tokens)

    def _find(self, model: str) -> _OfModel:
        found = self._of.get(model)
        if found is None:
            found = self._of[model] = _OfModel(model)
        return found


class _OfModel:
    """One model's metrics of generations."""

    def __init__(self, model: str) -> None:
        self.queue_wait = QUEUE_WAIT.labels(model)
        self.prompt_tokens = PROMPT_TOKENS.labels(model)
        self.first_token = FIRST_TOKEN.labels(model)
        self.speed = SPEED.labels(model)
        self.output_tokens = OUTPUT_TOKENS.labels(model)


GENERATION_METER = GenerationMeter()
