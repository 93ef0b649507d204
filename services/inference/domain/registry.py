"""Models by any of their names, each with the engine that runs it and the queue before that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.inference.domain.engine import Engine
from services.inference.domain.errors import ModelUnknown
from services.inference.domain.fair_queue import Admission
from services.inference.domain.load import LoadMeter


@dataclass(frozen=True)
class ModelCard:
    """What clients may know of a model. `created` is in Unix seconds."""

    id: str
    aliases: tuple[str, ...]
    context_length: int
    abilities: frozenset[str]
    created: int
    owned_by: str = "muhgpt"
    prices: tuple[int, int] | None = None  # credits for a million prompt and output tokens


@dataclass(frozen=True)
class Target:
    """A model, its engine and the engine's queue."""

    card: ModelCard
    engine: Engine
    admission: Admission


class Registry:
    """The models that this replica serves. They are replaced all together; what runs keeps the target it has."""

    def __init__(self, models: Iterable[tuple[ModelCard, Engine]], queue_limit: int = 256) -> None:
        self.load = LoadMeter()
        self.targets: list[Target] = []
        self._queue_limit = queue_limit
        self._by_name: dict[str, Target] = {}
        self._admissions: dict[int, tuple[Engine, Admission]] = {}  # by engine: models that share one share its slots
        self._watchers: set[asyncio.Event] = set()
        self.replace(models)

    def replace(self, models: Iterable[tuple[ModelCard, Engine]]) -> None:
        """Serves these from now on. An engine that stays keeps its queue."""
        self.targets = [Target(card, engine, self._admission(engine)) for card, engine in models]
        self._by_name = {name: target for target in self.targets for name in (target.card.id, *target.card.aliases)}
        for event in self._watchers:
            event.set()

    def idle(self, engine: Engine) -> bool:
        """Whether nothing runs on an engine or waits for it."""
        _, admission = self._admissions.get(id(engine), (engine, None))
        return admission is None or not (admission.running or admission.waiting)

    def forget(self, engine: Engine) -> None:
        """An engine that was replaced is idle and will be closed."""
        if found := self._admissions.pop(id(engine), None):
            self.load.remove(found[1])

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set when the models were replaced; whoever waits clears it."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)

    def _admission(self, engine: Engine) -> Admission:
        if (found := self._admissions.get(id(engine))) is not None:
            return found[1]
        admission = Admission(lambda: engine.slots, self._queue_limit, self.load.changed)
        self._admissions[id(engine)] = engine, admission
        self.load.add(admission)
        return admission

    def find(self, name: str) -> Target:
        """The target of a model's id or alias. Raises ModelUnknown."""
        try:
            return self._by_name[name]
        except KeyError:
            raise ModelUnknown(name) from None
