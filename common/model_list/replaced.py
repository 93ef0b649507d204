"""A model list whose embedded models run another file: a short way to try one without writing a list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.model_list.entries import ModelEntry, ModelList


def with_model_file(models: ModelList, file: Path | None) -> ModelList:
    """The list with `file` in every llama target; None: as it is.

    A projector fits one model only, so the shipped one goes together with the shipped model, and vision with it. A
    projector that the operator named stays.
    """
    if file is None:
        return models
    return ModelList({name: _with(entry, file) for name, entry in models.models.items()})


def _with(entry: ModelEntry, file: Path) -> ModelEntry:
    targets = tuple(target.with_model_file(file) for target in entry.targets)
    blind = {"vision"} if any(target.vision is False for target in targets) else set()
    return replace(entry, targets=targets, abilities=entry.abilities - blind)
