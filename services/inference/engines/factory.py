"""From the model list to engines: what each target takes, and one engine over all targets of a model."""

from __future__ import annotations

import contextlib
import random
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.model_list import (
    DEFAULT_FILE,
    DEFAULT_PROJECTOR,
    LlamaTarget,
    ModelEntry,
    Target,
    Tokenizer,
    UpstreamTarget,
)
from servicekit.clock import Clock
from servicekit.timer_wheel import TimerWheel
from services.inference import default_model
from services.inference.domain.engine import Engine
from services.inference.domain.registry import ModelCard
from services.inference.engines.llama.engine import LlamaEngine, ModelTraits
from services.inference.engines.llama.process import WorkerConfig
from services.inference.engines.llama.supervisor import Patience
from services.inference.engines.routed.engine import RoutedEngine
from services.inference.engines.routed.route import Route
from services.inference.engines.upstream.engine import UpstreamConfig, UpstreamEngine
from services.inference.engines.upstream.tokens.counter import DEFAULT
from services.inference.engines.upstream.tokens.encodings import load_encoding
from services.inference.engines.upstream.tokens.processes import CountingProcesses
from services.inference.settings import InferenceSettings

# The model list does not tell when an alias was added, and OpenAI's clients want a number: the platform's first day.
CREATED = 1_767_225_600


@dataclass(frozen=True)
class BuiltModel:
    """A model's engine, not started yet, and those of its parts that are to be started."""

    entry: ModelEntry
    engine: LlamaEngine | RoutedEngine
    workers: tuple[LlamaEngine, ...]
    keys: tuple[str, ...]  # what the upstreams' keys were, so that a reload knows a new one

    @property
    def card(self) -> ModelCard:
        """What clients may know. llama.cpp may have shortened the context when it started."""
        entry = self.entry
        length = min(entry.context_length, self.engine.context_length)
        prices = (entry.price.input, entry.price.output)
        return ModelCard(entry.id, entry.aliases, length, entry.abilities, CREATED, prices=prices)


class EngineFactory:
    """Builds engines. `environment` holds the upstreams' keys."""

    def __init__(
        self,
        settings: InferenceSettings,
        clock: Clock,
        environment: Mapping[str, str],
        timers: TimerWheel | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._environment = environment
        self._timers = timers or TimerWheel()
        self._processes = CountingProcesses()

    def keys(self, entry: ModelEntry) -> tuple[str, ...]:
        """The keys of a model's upstreams as they are now. Raises StartupError with file, line and field."""
        return tuple(self._key(target) for target in entry.targets)

    def load_tokenizers(self, entries: Iterable[ModelEntry]) -> None:
        """Reads what counting takes, up to 0.5 s each, and keeps it; for a thread. Mistakes are build()'s to report."""
        for target in (target for entry in entries for target in entry.targets):
            if isinstance(target, UpstreamTarget):
                with contextlib.suppress(OSError, ValueError):
                    load_encoding(_tokenizer(target.tokenizer) or DEFAULT)

    def build(self, entry: ModelEntry) -> BuiltModel:
        """A model's engine. Raises StartupError when a key is missing or a tokenizer cannot be read."""
        keys = self.keys(entry)
        engines = [self._engine(entry, target, key) for target, key in zip(entry.targets, keys, strict=True)]
        workers = tuple(engine for engine in engines if isinstance(engine, LlamaEngine))
        if len(engines) == 1 and workers:
            return BuiltModel(entry, workers[0], workers, keys)
        routes = [self._route(entry, target, engine) for target, engine in zip(entry.targets, engines, strict=True)]
        return BuiltModel(entry, RoutedEngine(entry.id, routes, self._clock, random.random), workers, keys)

    async def close(self) -> None:
        """Ends what the engines share. They are closed before."""
        await self._processes.close()

    def _key(self, target: Target) -> str:
        return "" if target.secret is None else target.secret.read(self._environment)

    def _engine(self, entry: ModelEntry, target: Target, key: str) -> LlamaEngine | UpstreamEngine:
        if isinstance(target, LlamaTarget):
            return self._llama(entry, target)
        assert isinstance(target, UpstreamTarget)
        config = _config(entry, target, key)
        try:
            return UpstreamEngine(config, self._clock, _new_call_id, self._processes, self._timers)
        except (OSError, ValueError) as error:
            assert target.tokenizer is not None  # the bundled ones load
            raise target.tokenizer.place.error(
                f"cannot count with it: {getattr(error, 'strerror', None) or error}"
            ) from None

    def _route(self, entry: ModelEntry, target: Target, engine: Engine) -> Route:
        options = {"weight": target.weight, "order": target.order}
        return Route(entry.id, target.name, engine, self._clock, random.random, **options)

    def _llama(self, entry: ModelEntry, target: LlamaTarget) -> LlamaEngine:
        settings = self._settings
        config = WorkerConfig(
            file=default_model.FILE if target.file in (None, DEFAULT_FILE) else target.file,
            context_length=target.context_length,
            slots=settings.llama_slots,
            threads=settings.threads,
            prompt_cache_mib=settings.llama_prompt_cache_mib,
            start_timeout=settings.llama_start_timeout,
            projector=default_model.PROJECTOR if target.projector == DEFAULT_PROJECTOR else target.projector,
        )
        patience = Patience(stall=settings.llama_stall_timeout)
        return LlamaEngine(ModelTraits(entry.id, entry.abilities), config, self._clock, _new_call_id, patience)


def _config(entry: ModelEntry, target: UpstreamTarget, key: str) -> UpstreamConfig:
    headers = target.headers
    if key:
        headers += ((target.key_header, f"Bearer {key}" if target.key_header == "authorization" else key),)
    return UpstreamConfig(
        model_id=entry.id,
        abilities=entry.abilities,
        target=target.name,
        base_url=target.base_url,
        model=target.model,
        server=target.server,
        headers=headers,
        context_length=target.context_length,
        slots=target.max_concurrent,
        connect_timeout=target.connect_timeout,
        first_token_timeout=target.first_token_timeout,
        token_timeout=target.token_timeout,
        max_output_tokens=target.max_output_tokens,
        max_tokens_field=target.max_tokens_field,
        image_tokens=target.image_tokens,
        tokenizer=_tokenizer(target.tokenizer),
        unsupported=target.unsupported | _missing_in_any(entry),
        key=key,
    )


def _tokenizer(tokenizer: Tokenizer | None) -> str:
    if tokenizer is None:
        return ""
    return str(tokenizer.file) if tokenizer.file else tokenizer.name


def _missing_in_any(entry: ModelEntry) -> frozenset[str]:
    """What clients cannot have of a model, whichever of its targets answers: for them all targets are one model."""
    return frozenset({"logprobs"}) & frozenset().union(*(target.unsupported for target in entry.targets))


def _new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"
