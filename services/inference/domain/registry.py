"""Models by any of their names, each with the engine that runs it and the queue before that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.inference.domain.admission import Admission
from services.inference.domain.engine import Engine
from services.inference.domain.errors import ModelUnknown
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


@dataclass(frozen=True)
class Target:
    """A model, its engine and the engine's queue."""

    card: ModelCard
    engine: Engine
    admission: Admission


class Registry:
    """The models that this replica serves. Fixed after start."""

    def __init__(self, models: Iterable[tuple[ModelCard, Engine]], queue_limit: int = 256) -> None:
        self.load = LoadMeter()
        self.targets: list[Target] = []
        self._by_name: dict[str, Target] = {}
        admissions: dict[int, Admission] = {}  # models that share an engine share its slots
        for card, engine in models:
            admission = admissions.get(id(engine))
            if admission is None:
                admission = admissions[id(engine)] = Admission(engine.slots, queue_limit, self.load.changed)
                self.load.add(admission)
            self._add(Target(card, engine, admission))

    def _add(self, target: Target) -> None:
        self.targets.append(target)
        for name in (target.card.id, *target.card.aliases):
            self._by_name[name] = target

    def find(self, name: str) -> Target:
        """The target of a model's id or alias. Raises ModelUnknown."""
        try:
            return self._by_name[name]
        except KeyError:
            raise ModelUnknown(name) from None
