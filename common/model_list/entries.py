"""What the model list says, read and checked. Equal entries mean the same, so that a reload knows what has changed."""

from __future__ import annotations

from dataclasses import dataclass

from common.model_list.engines.target import Target


@dataclass(frozen=True)
class Price:
    """Credits for a million tokens."""

    input: int
    output: int


@dataclass(frozen=True)
class ModelEntry:
    """One model. `id` is canonical: charges and usage name it. For clients all its targets are one model."""

    id: str
    context_length: int  # tokens, prompt and answer together
    abilities: frozenset[str]
    price: Price
    aliases: tuple[str, ...]
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class ModelList:
    """All models, by canonical id, and the names that clients may use."""

    models: dict[str, ModelEntry]

    def resolve(self, alias: str) -> ModelEntry | None:
        """The model that a client's name stands for."""
        return self.models.get(self.names().get(alias, ""))

    def names(self) -> dict[str, str]:
        """Every name that clients may use, with its canonical id; canonical ids first."""
        names = {model: model for model in self.models}
        names.update({alias: entry.id for entry in self.models.values() for alias in entry.aliases})
        return names
