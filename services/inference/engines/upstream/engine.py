"""One OpenAI-compatible server as an engine. Which of several gets a request is the business of engines/routed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import orjson

from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from servicekit.timer_wheel import TimerWheel
from services.inference import metrics
from services.inference.domain import spent
from services.inference.domain.abilities import check_abilities
from services.inference.domain.chat import ChatRequest
from services.inference.domain.engine import Prepared, Sink, Usage
from services.inference.domain.errors import ContextExceeded, ContextTooLong, InvalidRequest, TargetFailed
from services.inference.engines.upstream import request as words
from services.inference.engines.upstream.answer import Answer, Patience
from services.inference.engines.upstream.choice import LogprobsIgnored
from services.inference.engines.upstream.choices import Asked, every_choice
from services.inference.engines.upstream.chunks import COUNTS, ChunkReader
from services.inference.engines.upstream.client import UpstreamClient
from services.inference.engines.upstream.context import Context
from services.inference.engines.upstream.forced import ForcedCall
from services.inference.engines.upstream.http.receiver import HttpCall, HttpReceiver
from services.inference.engines.upstream.prompt_count import PromptCounter
from services.inference.engines.upstream.reasons import shown
from services.inference.engines.upstream.refusals import UNTOLD, ContextRefused, quotes
from services.inference.engines.upstream.tokens.counter import PromptTokens, TokenCounter
from services.inference.engines.upstream.tokens.processes import CountingProcesses

log = get_logger(__name__)

LEAST_SHARE = 8  # of a context that an estimate of the prompt leaves for the answer, at least one part in so many
LOGPROBS_PAUSE = 60.0  # seconds for which a server that ignored `logprobs` is not asked for them again

# What makes a server tell its running count of tokens; OpenAI itself refuses fields that it does not know.
RUNNING_COUNT: dict[str, dict[str, Any]] = {
    "vllm": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    "sglang": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    "llama.cpp": {"timings_per_token": True},
}


@dataclass(frozen=True)
class UpstreamConfig:
    """What is to be known of an upstream; times in seconds. `headers` hold the key too."""

    model_id: str  # ours, for messages
    abilities: frozenset[str]
    target: str
    base_url: str
    model: str
    server: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    context_length: int
    slots: int
    connect_timeout: float = 5.0
    first_token_timeout: float = 60.0
    token_timeout: float = 30.0
    max_output_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    image_tokens: int | None = None
    tokenizer: str = ""  # a bundled one's name or a tokenizer.json's path; empty: estimates
    unsupported: frozenset[str] = frozenset()  # fields that it ignores or refuses, of the model list's UNSUPPORTABLE
    key: str = field(default="", repr=False)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where it is, in every form that an error of its could name."""
        parts = urlsplit(self.base_url)
        return tuple({self.base_url, parts.netloc, parts.hostname or parts.netloc})


class UpstreamEngine:
    """Implements services/inference/domain/engine.py. Raises TargetFailed where the protocol says EngineUnavailable."""

    ready = True  # what a server is worth asking is judged by its circuit breaker

    def __init__(
        self,
        config: UpstreamConfig,
        clock: Clock,
        new_call_id: Callable[[], str],
        processes: CountingProcesses | None = None,
        timers: TimerWheel | None = None,
    ) -> None:
        """`processes` count long prompts; None: it has its own, as of `timers`.

        Raises OSError and ValueError of the tokenizer.
        """
        self.config = config
        self.clock = clock
        self.new_call_id = new_call_id
        self.timers = timers or TimerWheel()
        counting = processes or CountingProcesses()
        self._own_processes = counting if processes is None else None
        self.tokens = TokenCounter(config.tokenizer, counting, config.image_tokens)
        self.client = UpstreamClient(
            dict(config.headers), connect_timeout=config.connect_timeout, reuse=config.server != "llama.cpp"
        )
        self._counter = PromptCounter(self.client, config.base_url, config.server, self.tokens, target=config.target)

        self.context = Context(self.client, config.base_url, config.model, config.context_length, clock, config.target)
        self.context.look()
        self.counts_meanwhile = config.server in RUNNING_COUNT  # the server's answers bring running counts
        self._logprobs_missing_until = 0.0  # monotonic
        for count in COUNTS:  # initialised to 0 so that rate() sees the first increment
            metrics.USAGE_DISBELIEVED.labels(config.model_id, config.target, count)

    @property
    def context_length(self) -> int:
        """What the list says, or less when the server has said so."""
        return self.context.tokens

    @property
    def server(self) -> str:
        """What the list calls it, or what it calls itself where the list says nothing more than `openai`."""
        return self.context.server or "openai" if self.config.server == "openai" else self.config.server

    @property
    def _lacks_logprobs(self) -> bool:
        return "logprobs" in self.config.unsupported or self.clock.monotonic() < self._logprobs_missing_until

    def note_missing_logprobs(self) -> None:
        """An answer came without the log probabilities that were asked for: for a while none are promised."""
        self._logprobs_missing_until = self.clock.monotonic() + LOGPROBS_PAUSE
        log.warning("upstream_ignores_logprobs", model=self.config.model_id, target=self.config.target)

    @property
    def slots(self) -> int:
        return self.config.slots

    async def prepare(self, request: ChatRequest) -> UpstreamPrompt:
        """See domain/engine.py."""
        config = self.config
        check_abilities(request, config.model_id, config.abilities)
        if request.sampling.logprobs and self._lacks_logprobs:
            raise LogprobsIgnored()
        await self.context.settled()
        with spent.counted():
            body = words.chat_body(request, config.model, self.server, config.unsupported)
        count = await self._counter.count(request, body)
        context_length = self.context_length
        if not count.estimated and count.tokens >= context_length:
            raise ContextTooLong(count.tokens, context_length)
        left = max(1, context_length - count.tokens)
        if count.estimated:  # what does not fit is refused by the upstream; a wrong guess must not cut an answer short
            left = max(left, context_length // LEAST_SHARE)
        left = min(left, config.max_output_tokens or left)
        prepared = Prepared(min(count.tokens, context_length - 1), left, count.estimated or self._guesses_output)
        return UpstreamPrompt(self, request, prepared, body, count)

    @property
    def _guesses_output(self) -> bool:
        """Whether nobody knows the tokens of a running answer, as far as the last one showed."""
        return self.tokens.estimates and not self.counts_meanwhile

    async def close(self) -> None:
        """Closes all connections."""
        await self.context.close()
        await self.client.close()
        if self._own_processes is not None:
            await self._own_processes.close()


@dataclass(frozen=True)
class UpstreamPrompt:
    """A counted request in the upstream's words."""

    engine: UpstreamEngine
    request: ChatRequest
    prepared: Prepared
    body: dict[str, Any]
    count: PromptTokens

    async def generate(self, max_tokens: int, sink: Sink, *, implied: bool = False) -> Usage:
        """See domain/engine.py."""
        config = self.engine.config
        forced = ForcedCall.of(self.request)
        try:
            if forced is None:
                return await every_choice(self, max_tokens, implied, sink)
            answer = partial(every_choice, self, max_tokens, implied)
            return await forced.check(answer, self.request.sampling.choices, self.engine.clock, sink)
        except TargetFailed as error:
            if error.outcome == "unauthorized":
                log.error("upstream_refuses_key", model=config.model_id, target=config.target)
            raise
        except ContextRefused as error:
            raise ContextExceeded(self.prepared.prompt_tokens, error.limit or self.engine.context_length) from None
        except LogprobsIgnored:
            self.engine.note_missing_logprobs()
            raise
        except InvalidRequest as error:  # the upstream's own words
            raise self._shown(error) from None

    def _shown(self, error: InvalidRequest) -> InvalidRequest:
        config = self.engine.config
        if quotes(f"{error.message} {error.param}", config.key, (value for _, value in config.headers)):
            log.warning("upstream_quotes_secret", model=config.model_id, target=config.target)
            return InvalidRequest(UNTOLD)
        return InvalidRequest(shown(error.message, config.hosts) or UNTOLD, param=error.param)

    async def answer(self, asked: Asked, sink: Sink) -> Usage:
        """One answer of the upstream, as one request of it. What was not seen of it is in `asked.unseen`."""
        config, reader = self.engine.config, self._reader(asked)
        patience = Patience(config.first_token_timeout, config.token_timeout)
        answer = Answer(reader, sink, patience, self.engine.timers)
        try:
            await answer.read(self._send(asked, answer.receiver))
        finally:
            asked.begun = answer.begun
            if asked.begun and config.server in RUNNING_COUNT and not self.request.sampling.logprobs:
                self.engine.counts_meanwhile = not reader.guesses
        last, usage = reader.finish(self.count)
        asked.unseen = reader.unseen
        for count in reader.disbelieved:
            metrics.USAGE_DISBELIEVED.labels(config.model_id, config.target, count).inc()
        if reader.overrun and not asked.implied:
            log.warning("upstream_over_limit", model=config.model_id, target=config.target)
        sink.on_deltas(last)
        return usage

    def _reader(self, asked: Asked) -> ChunkReader:
        sampling, engine = self.request.sampling, self.engine
        return ChunkReader(
            asked.choices,
            asked.max_tokens,
            engine.new_call_id,
            engine.tokens,
            stops=sampling.stop,
            running_counts=engine.config.server in RUNNING_COUNT,
            # Beside tools a server's own parsers may give out text without them, now and then.
            logprobs=sampling.logprobs and not self.request.tools,
        )

    def _send(self, asked: Asked, receiver: HttpReceiver) -> HttpCall:
        config = self.engine.config
        body = {**self.body, **asked.fields, "stream": True, "stream_options": {"include_usage": True}}
        if not asked.implied or config.max_output_tokens is not None:
            body[config.max_tokens_field] = asked.sent_max_tokens or asked.max_tokens
        body |= RUNNING_COUNT.get(config.server, {})
        body = {name: value for name, value in body.items() if value is not None}
        return self.engine.client.send(f"{config.base_url}/chat/completions", orjson.dumps(body), receiver)
