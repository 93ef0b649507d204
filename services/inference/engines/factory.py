"""From the model list to engines: what each target takes, and one engine over all targets of a model."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from common.model_list import LlamaTarget, ModelEntry, Target, UpstreamTarget
from servicekit.clock import Clock
from servicekit.timer_wheel import TimerWheel
from services.inference.domain.engine import Engine
from services.inference.domain.registry import ModelCard
from services.inference.engines.llama.build import build_llama
from services.inference.engines.llama.engine import LlamaEngine
from services.inference.engines.routed.engine import RoutedEngine
from services.inference.engines.routed.route import Route
from services.inference.engines.shared import Shared
from services.inference.engines.upstream.build import build_upstream, tokenizer_of
from services.inference.engines.upstream.engine import UpstreamEngine
from services.inference.engines.upstream.tokens.counter import DEFAULT
from services.inference.engines.upstream.tokens.encodings import load_encoding
from services.inference.engines.upstream.tokens.processes import CountingProcesses
from services.inference.settings import InferenceSettings

# One for each kind of target in the model list (common/model_list/engines/).
BUILDERS: dict[type[Target], Callable[[ModelEntry, Any, str, Shared], LlamaEngine | UpstreamEngine]] = {
    LlamaTarget: build_llama,
    UpstreamTarget: build_upstream,
}
# The model list does not say when an alias was added, and OpenAI's clients want a number: the platform's first day.
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
        self._clock = clock
        self._environment = environment
        self._shared = Shared(settings, clock, timers or TimerWheel(), CountingProcesses())

    def keys(self, entry: ModelEntry) -> tuple[str, ...]:
        """The keys of a model's upstreams as they are now. Raises StartupError with file, line and field."""
        return tuple(self._key(target) for target in entry.targets)

    def load_tokenizers(self, entries: Iterable[ModelEntry]) -> None:
        """Reads what counting takes, up to 0.5 s each, and keeps it; for a thread. Mistakes are build()'s to report."""
        for target in (target for entry in entries for target in entry.targets):
            if isinstance(target, UpstreamTarget):
                with contextlib.suppress(OSError, ValueError):
                    load_encoding(tokenizer_of(target) or DEFAULT)

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
        await self._shared.processes.close()

    def _key(self, target: Target) -> str:
        return "" if target.secret is None else target.secret.read(self._environment)

    def _engine(self, entry: ModelEntry, target: Target, key: str) -> LlamaEngine | UpstreamEngine:
        return BUILDERS[type(target)](entry, target, key, self._shared)

    def _route(self, entry: ModelEntry, target: Target, engine: Engine) -> Route:
        options = {"weight": target.weight, "order": target.order}
        return Route(entry.id, target.name, engine, self._clock, random.random, **options)
